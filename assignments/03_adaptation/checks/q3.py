"""Public checks of q3, made from 03_adaptation.py by `make assignments`."""


def test_fisher_example(answer, mine):
    """points: 1"""
    import numpy as np
    x, weight = (np.array([[2.0]]), np.array([[np.log(3)], [0.0]]))
    found = answer.fisher(x, weight)
    assert found is not None, 'fisher is not written yet: it must return an array [classes, d].'
    assert np.shape(found) == (2, 1), f'fisher has the shape of the weight, (2, 1); yours is {np.shape(found)}.'
    assert np.allclose(found, 0.36), f'In the example fisher is 0.36 for both weights, yours is {np.ravel(found)}.'
    found = answer.empirical(x, np.array([0]), weight)
    assert found is not None and np.allclose(found, 0.04), 'In the example empirical is 0.04 for both weights.'
    found = answer.anchored(weight, weight - 1, np.array([[1.0], [3.0]]), 0.5)
    assert found is not None and len(found) == 2, 'anchored must return the penalty and its gradient.'
    assert abs(found[0] - 1.0) < 1e-06, 'Each weight is 1 from its start, importance 1 and 3, strength 0.5: the penalty is 1.'
    assert np.allclose(found[1], [[0.5], [1.5]]), 'The gradient does not belong to the penalty: derive it for one weight.'
