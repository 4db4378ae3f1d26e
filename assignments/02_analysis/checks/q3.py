"""Public checks of q3, made from 02_analysis.py by `make assignments`."""


def test_small_split(answer, mine):
    """points: 1"""
    found = answer.groups_of(['a b', 'c', 'a b'])
    assert found is not None, 'groups_of is not written yet: it must return a list of numbers.'
    assert list(found) == [0, 1, 0], f"groups_of(['a b', 'c', 'a b']) is [0, 1, 0], yours is {found}."
    groups = [i // 7 for i in range(70)]
    test = answer.split(groups, 0.3, 1)
    assert test is not None and len(test) == 70, 'split must return True or False for each word.'
    assert not any((0 < sum(test[i:i + 7]) < 7 for i in range(0, 70, 7))), 'A group stands on both sides of your split.'
    assert sum(test) == 21, f'A share of 0.3 of 10 groups of 7 words is 21 words: yours tests on {sum(test)}.'
    assert list(test) == list(answer.split(groups, 0.3, 1)), 'The same seed must give the same split.'
    assert any((list(test) != list(answer.split(groups, 0.3, s)) for s in (2, 3, 4))), 'Another seed must give another split.'
    found = answer.on_both_sides([0, 0, 1, 1, 2], [True, False, True, True, False])
    assert found is not None and list(found) == [0], f'In the example only group 0 is on both sides, yours says {found}.'
