"""Public checks of q1, made from 02_analysis.py by `make assignments`."""


def test_mail(answer, mine):
    """points: 1"""
    found = answer.dictionary(['mail', 'mail', 'the', 'a', 'mail', 'mail'], [3, 1, 0, 0, 1, 3], ['mail', 'the', 'yak'])
    assert found is not None, 'dictionary is not written yet: it must return a list of labels.'
    assert len(found) == 3, 'dictionary must return one label for each test word.'
    assert found[1] == 0, 'A word gets the label that it had most often.'
    assert found[0] == 1, f'Of labels that are equally frequent the smallest is taken: mail gets 1, not {found[0]}.'
    assert found[2] == 0, f'A new word gets the most frequent label of all, ties to the smallest: 0, not {found[2]}.'
    words, labels = (['mail', 'the'] * 50 + [f'w{i}' for i in range(40)], [0, 1] * 50 + [2] * 40)
    found = answer.control(words, labels, 5)
    assert found is not None, 'control is not written yet: it must return a list of labels.'
    assert len(found) == len(words), 'control must return one label for each word.'
    assert len(set(found[0:100:2])) == 1 == len(set(found[1:100:2])), 'In the control task a word has the same label everywhere.'
    assert list(found) == list(answer.control(words, labels, 5)), 'The same seed must give the same labels.'
    assert list(found) != list(answer.control(words, labels, 6)), 'Another seed must give other labels.'
