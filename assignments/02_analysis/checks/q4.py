"""Public checks of q4, made from 02_analysis.py by `make assignments`."""


def test_short_code(answer, mine):
    """points: 1"""
    import numpy as np
    p = np.full((3, 4), 0.25)
    p[2] = [0.25, 0.125, 0.5, 0.125]
    found = answer.online_code(np.array([0, 1, 2]), [p], [2, 3], 4)
    assert found is not None, 'online_code is not written yet: it must return a list of bits.'
    assert len(found) == 2, 'online_code must return the bits spent after each block, one number for each end.'
    assert abs(found[0] - 4) < 1e-09, f'The first block is sent as it is, 2 labels of 2 bits: 4 bits, not {found[0]:.3f}.'
    assert abs(found[1] - 5) < 1e-09, f'The third label has probability one half: one bit more, 5 in all, not {found[1]:.3f}. Bits have the logarithm of base 2, and are added up over the blocks.'
    found = answer.compression(5.0, 3, 4)
    assert isinstance(found, float), 'compression must return a number.'
    assert abs(found - 1.2) < 1e-09, f'compression(5.0, 3, 4) is 6 bits over 5, 1.2, not {found:.3f}.'
