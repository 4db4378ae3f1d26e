"""Public checks of q2, made from 02_analysis.py by `make assignments`."""


def test_pairs_of_the_example(answer, mine):
    """points: 1"""
    good, bad = ([[1.0, 2.0, 3.0], [1.0, 1.0], [2.0], [1.0]], [[2.0, 2.0], [0.5, 2.5], [1.0, 1.0], [4.0]])
    found = answer.preferred(good, bad)
    assert found is not None and len(found) == 4, 'preferred must return one number for each pair.'
    assert found[0] == 0.0, 'A sentence costs the sum of its bits, not their mean: the first pair is lost, 6 bits against 4.'
    assert found[1] == 1.0, 'Fewer bits are more probable: the second pair is won, 2 bits against 3.'
    assert found[2] == 0.5, 'Equally probable sentences count one half.'
    found = answer.by_attractors(good, bad, [0, 0, 0, 2])
    assert isinstance(found, dict), 'by_attractors must return a dictionary.'
    assert set(found) == {0, 2}, 'The dictionary has the numbers of attractors that occur, 0 and 2 in this example.'
    assert abs(found[0] - 0.5) < 1e-09 and found[2] == 1.0, 'Here the accuracy is 0.5 without attractors and 1 with two.'
    found = answer.balanced(good, bad, [0, 0, 0, 2])
    assert isinstance(found, float), 'balanced must return a number.'
    assert abs(found - 0.75) < 1e-09, 'The one pair with two attractors must count as much as the three without.'
