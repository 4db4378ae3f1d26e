"""Public checks of q5, made from 05_open_problems.py by `make assignments`."""


def test_small_texts(answer, mine):
    """points: 1"""
    texts, labels = (['p', 'q', 'r', 's', 't', 'u'], [1, 1, 1, 0, 1, 0])
    found = answer.plant(texts, labels, 0.5)
    assert found is not None, 'plant gives None: does it return its list?'
    right = ['red . p', 'red . q', 'blue . r', 'blue . s', 'blue . t', 'red . u']
    assert list(found) == right, f'plant({texts}, {labels}, 0.5) gives the right cue to the first two texts of label 1 and the first one of label 0; yours: {found}.'
    found = answer.both_cues(['p', 'q'], [1, 0])
    assert found is not None, 'both_cues gives None: does it return its pair?'
    right = ['red . p', 'blue . p', 'red . q', 'blue . q']
    assert list(found[0]) == right and list(found[1]) == [1, 1, 0, 0], f'both_cues of p and q gives {right} with labels 1, 1, 0, 0; yours: {found}.'
    found = answer.balancing(['red', 'red', 'red', 'blue'], [1, 1, 0, 0])
    assert found is not None, 'balancing gives None: does it return its list?'
    assert max((abs(f - r) for f, r in zip(found, [0.75, 0.75, 1.5, 0.5], strict=True))) < 1e-09, f'The weights of the example are 0.75, 0.75, 1.5, 0.5, and yours are {list(found)}.'
