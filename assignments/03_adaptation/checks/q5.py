"""Public checks of q5, made from 03_adaptation.py by `make assignments`."""


def test_interval_example(answer, mine):
    """points: 1"""
    found = answer.paired([0.8, 0.9, 0.7], [0.7, 0.7, 0.7])
    assert found is not None and len(found) == 3, 'paired must return the mean difference and two ends.'
    assert abs(found[0] - 0.1) < 1e-09, 'The mean difference of the example is 0.1.'
    assert abs(found[1] + 0.1484) < 0.001 and abs(found[2] - 0.3484) < 0.001, f'In the example the interval goes from -0.148 to 0.348, yours from {found[1]:.3f} to {found[2]:.3f}: the standard deviation is divided by n - 1, its error by the root of n, and t has n - 1 degrees of freedom.'
    cases = {(0.02, 0.05): 'more', (-0.05, -0.02): 'less', (-0.005, 0.008): 'equal'}
    cases |= {(0.005, 0.05): 'open', (-0.03, 0.05): 'open'}
    for (low, high), right in cases.items():
        said = answer.verdict(low, high, 0.01)
        assert said == right, f'From {low} to {high}, with a margin of 0.01, the verdict is {right!r}, not {said!r}.'
