"""Public checks of q2, made from 05_open_problems.py by `make assignments`."""


def test_worked_example(answer, mine):
    """points: 1"""
    import numpy as np
    weights = {'q': np.array([[0.5, -0.1], [0.2, 0.2]]), 'k': np.array([[-0.2, 0.9]])}
    found = answer.prune(weights, 0.5)
    assert found is not None, 'prune gives None: does it return its dictionary?'
    kept = {name: np.asarray(part).astype(int).tolist() for name, part in found.items()}
    assert sum(map(sum, kept['q'] + kept['k'])) == 3, f'Of six weights three are left at a share of 0.5, exactly, whatever is equal; yours: {kept}.'
    assert kept == {'q': [[1, 0], [0, 0]], 'k': [[1, 1]]}, f'Left are 0.5 in q and both of k, since of equal sizes the first go; yours (1 is left): {kept}.'
    found = answer.schedule(0.75, 2)
    assert found is not None, 'schedule gives None: does it return its list?'
    assert np.allclose(found, [0.5, 0.75]), f'0.75 in two steps is half of all, then half of the rest; yours: {found}.'
