"""Public checks of q3, made from 05_open_problems.py by `make assignments`."""


def test_two_dimensions(answer, mine):
    """points: 1"""
    x, y, a, b = ([[2, 0], [1, 0]], [[0, 3], [1, 1], [0, 1]], [[1, 0]], [[0, 1]])
    found = answer.effect_size(x, y, a, b)
    assert found is not None, 'effect_size gives None: does it return its number?'
    assert abs(found - 5 / 3) < 1e-06, f"The effect size of the example is 5/3, and yours is {found:.4f}. Are the vectors' lengths out of it, and is the standard deviation that of all five associations, with n - 1?"
    found = answer.p_value(x, y, a, b)
    assert found is not None, 'p_value gives None: does it return its number?'
    assert abs(found - 0.1) < 1e-06, f'Of ten ways one is as large: p is 1/10, and yours is {found:.4f}.'
    found = answer.p_value(y, x, a, b)
    assert abs(found - 1) < 1e-06, f'With X and Y exchanged every choice gives at least as much, so p is 1; yours is {found:.4f}. It is one-sided.'
