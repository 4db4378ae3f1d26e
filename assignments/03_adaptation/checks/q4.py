"""Public checks of q4, made from 03_adaptation.py by `make assignments`."""


def test_one_update(answer, mine):
    """points: 1"""
    import numpy as np
    w = {'head': np.array([[1.0]]), 'bias': np.array([1.0]), 'low': np.array([[1.0]])}
    g, m = ({n: np.full_like(v, 2) for n, v in w.items()}, {n: np.ones_like(v) for n, v in w.items()})
    found = answer.step(w, g, m, ['low'], 0.1, 0.5, 0.9)
    assert found is not None and len(found) == 2, 'step must return the new weights and the new momentum.'
    weights, momentum = found
    assert set(weights) == set(w) == set(momentum), 'Both dictionaries must have all the names.'
    assert np.array_equal(weights['low'], w['low']), 'The frozen weight moved. With a gradient of zero, what else still enters the update?'
    assert not np.any(momentum['low']), 'The momentum of what is frozen becomes zero.'
    assert np.allclose(momentum['head'], 3.4) and np.allclose(weights['head'], 0.66), 'The head of the example is not right: momentum first, with gradient and decay in it, then the weight.'
    assert np.allclose(weights['bias'], 0.71), 'A bias is a vector and does not decay.'
    assert answer.arguments_unchanged is True, 'step changes the weights that it is given: make new dictionaries.'
