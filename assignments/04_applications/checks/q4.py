"""Public checks of q4, made from 04_applications.py by `make assignments`."""


def test_small_lists(answer, mine):
    """points: 1"""
    for scores, true, k, right in (([3, 1, 2, 3], 3, 4, 1 / 2), ([3, 1, 2, 3], 3, 2, 5 / 6), ([3, 1, 2, 3], 3, 1, 1), ([3, 1, 2, 3], 2, 4, 0), ([3, 1, 2, 3], 2, 2, 1 / 3), ([0, 0, 0, 0, 0], 0, 5, 1 / 5), ([0, 0, 0, 0, 0], 4, 2, 1 / 2)):
        found = answer.hits_at(scores, true, k)
        assert found is not None, 'hits_at gives None: does it return its number?'
        assert abs(found - right) < 1e-09, f'hits_at({scores}, {true}, {k}) is {right:.4f}, and yours gives {found:.4f}.'
