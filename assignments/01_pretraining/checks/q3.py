"""Public checks of q3, made from 01_pretraining.py by `make assignments`."""


def test_corrupt_example(answer, mine):
    """points: 1"""
    words = [[2], [10, 11, 12], [13], [14, 15], [3]] * 200
    found = answer.corrupt(words, 0.5, 4, 5, 100, 7)
    assert found is not None and found is not ..., 'corrupt must return the new text and the chosen words.'
    new, chosen = ([[int(i) for i in word] for word in found[0]], [bool(c) for c in found[1]])
    assert len(new) == len(chosen) == len(words), 'There must be one list of ids and one True or False for each word.'
    assert [len(w) for w in new] == [len(w) for w in words], 'No word may lose or gain pieces.'
    assert not any((c for w, c in zip(words, chosen, strict=True) if min(w) < 5)), 'Marks, ids below `specials`, are never chosen.'
    assert all((list(n) == w for n, w, c in zip(new, words, chosen, strict=True) if not c)), 'A word that is not chosen stays.'
    half = [n for n in new if 4 in n and set(n) != {4}]
    assert not half, f"All pieces of a word are masked together: yours has {(half[0] if half else '')} (the mask is 4)."
    assert any((set(n) == {4} for n in new)), 'No word was masked, and most of the chosen ones should be.'
    again, other = (answer.corrupt(words, 0.5, 4, 5, 100, 7), answer.corrupt(words, 0.5, 4, 5, 100, 8))
    same = list(again[1]) == chosen and [[int(i) for i in word] for word in again[0]] == new
    assert same, 'The same seed must give the same result.'
    assert list(other[1]) != chosen, 'Another seed must give another result.'
    assert answer.untouched is True, 'corrupt changes the text that it is given: work on a copy.'


def test_trust_example(answer, mine):
    """points: 0"""
    found = answer.trust(0.5, 2)
    assert isinstance(found, float), 'trust must return a number.'
    assert abs(found - 0.575 / 0.6) < 1e-06, f'trust(0.5, 2) is 0.9583, yours is {found:.4f}.'
