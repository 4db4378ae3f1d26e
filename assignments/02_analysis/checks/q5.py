"""Public checks of q5, made from 02_analysis.py by `make assignments`."""


def test_two_runs(answer, mine):
    """points: 1"""
    import numpy as np
    validation, test = (np.array([[0.5, 0.7], [0.8, 0.6]]), np.array([[0.6, 0.5], [0.7, 0.8]]))
    found = answer.choose(validation)
    assert found is not None, 'choose is not written yet: it must return a layer for each run.'
    assert list(found) == [1, 0], f'The two runs choose the layers [1, 0], yours {list(found)}: rows are runs, columns layers.'
    found = answer.choose(np.array([[0.2, 0.9, 0.9]]))
    assert list(found) == [1], f'Of layers that are equally good the lowest is taken: 1, not {list(found)}.'
    found = answer.reported(validation, test)
    assert isinstance(found, float), 'reported must return a number.'
    assert abs(found - 0.6) < 1e-09, f'reported is 0.6 in the example, yours is {found:.3f}: each run uses its own layer.'
    found = answer.optimism(validation, test)
    assert isinstance(found, float) and abs(found - 0.1) < 1e-09, 'optimism is 0.1 in the example.'
    found = answer.selective(np.array([[0.5, 0.9, 1.0], [0.5, 0.8, 0.9]]), np.array([[0.1, 0.4, 0.8], [0.1, 0.3, 0.6]]))
    assert found == 1, 'selective asks for task minus control: here the three layers have 0.4, 0.5 and 0.25 on average.'
