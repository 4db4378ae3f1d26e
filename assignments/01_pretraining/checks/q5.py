"""Public checks of q5, made from 01_pretraining.py by `make assignments`."""


def test_windows_example(answer, mine):
    """points: 1"""
    found = answer.windows([['a', 'b'], ['c']], 2, '|')
    assert found is not None and found is not ... and (len(found) == 2), 'windows must return contexts and targets.'
    contexts, targets = ([list(c) for c in found[0]], list(found[1]))
    assert targets == ['a', 'b', '|', 'c', '|'], f'In the example the targets are a b | c |, yours are {targets}.'
    right = [['|', '|'], ['|', 'a'], ['a', 'b'], ['|', '|'], ['|', 'c']]
    for i, (ours, yours) in enumerate(zip(right, contexts, strict=False)):
        assert yours == ours, f'In the example the context of target {i}, {targets[i]!r}, is {ours}, yours is {yours}.'
    assert len(contexts) == 5, 'There must be one context for each target.'
