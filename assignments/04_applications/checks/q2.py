"""Public checks of q2, made from 04_applications.py by `make assignments`."""


def test_repaired(answer, mine):
    """points: 1"""
    word_ids, labels = ([None, 0, 0, 1, 2, 2, 3, None], ['B-person', 'I-person', 'O', 'B-place'])
    right = [-100, 'B-person', -100, 'I-person', 'O', -100, 'B-place', -100]
    found = answer.aligned(word_ids, labels)
    assert found is not None, 'aligned gives None: does it return its list?'
    assert list(found) == right, f'aligned({word_ids}, {labels}) is {right}, and yours gives {list(found)}. Look at the first word.'
    row = ['B-person', 'I-person', 'I-place', 'B-place']
    found = answer.names(row)
    assert found is not None, 'names gives None: does it return its list?'
    right = [('person', 0, 1), ('place', 3, 3)]
    assert [tuple(name) for name in found] == right, f'The names of {row} are {right}, and yours gives {found}.'
