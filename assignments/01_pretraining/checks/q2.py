"""Public checks of q2, made from 01_pretraining.py by `make assignments`."""


def test_gap_example(answer, mine):
    """points: 1"""
    found = answer.gap([10, 20, 33], [8, 18, 24], [4, 8, 12])
    assert found is not None and found is not ... and (len(found) == 2), 'gap must return two numbers.'
    assert abs(found[0] - 13 / 24) < 1e-06, f'In the example R is 0.5417, yours is {found[0]:.4f}.'
    assert abs(found[1] - 0.206174) < 0.0001, f'In the example the standard error is 0.2062, yours is {found[1]:.4f}. Leave out one text at a time from both sums, and mind the factor before the sum of squares.'
