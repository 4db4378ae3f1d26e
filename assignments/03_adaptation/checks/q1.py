"""Public checks of q1, made from 03_adaptation.py by `make assignments`."""


def test_table_of_the_example(answer, mine):
    """points: 1"""
    import numpy as np
    found = answer.rates(4, 2, peak=1.0, share=0.5, ratio=5, decay=2.0, every=2)
    assert found is not None, 'rates is not written yet: it must return the table.'
    found = np.asarray(found, dtype=float)
    assert found.shape == (4, 2), f'The table has a row for each step and a column for each layer: yours is {found.shape}.'
    right = np.array([[0, 0.2], [0, 0.6], [0.5, 1], [0.3, 0.6]])
    assert np.allclose(found[:, 1], right[:, 1]), f'The top layer of the example has the rates {right[:, 1].tolist()}, yours {found[:, 1].round(3).tolist()}: the peak is at step k, and the lowest factor is 1 / ratio, not 0.'
    assert np.allclose(found[:, 0], right[:, 0]), f'Layer 0 of the example has the rates {right[:, 0].tolist()}, yours {found[:, 0].round(3).tolist()}: it joins after `every` steps and learns more slowly than the layer above.'
