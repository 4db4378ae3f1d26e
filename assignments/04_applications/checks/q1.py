"""Public checks of q1, made from 04_applications.py by `make assignments`."""


def test_scorer_examples(answer, mine):
    """points: 1"""
    english, spanish = (['a', 'an', 'the'], ['el', 'la', 'los', 'las'])
    lines = [('The Denver Broncos!', english, ['denver', 'broncos']), ('a steam-powered machine', english, ['steampowered', 'machine']), ('«La» Casa, de la Pradera', spanish, ['casa', 'de', 'pradera']), ('24–10', english, ['2410'])]
    for text, articles, words in lines:
        found = answer.words_of(text, articles)
        assert found is not None, 'words_of gives None: does it return its list?'
        assert list(found) == words, f'words_of({text!r}, {articles}) is {words}, and yours gives {found}.'
    cases = [('the Denver Broncos!', ['Denver Broncos'], (1, 1)), ('a la la land', ['la la la'], (0, 2 / 3)), ('in the old town', ['London', 'the old Town hall'], (0, 2 / 3)), ('', [], (1, 1)), ('Paris', [], (0, 0))]
    for prediction, keys, right in cases:
        found = answer.score(prediction, keys, english)
        assert found is not None and len(found) == 2, f'score must return a pair, exact match and F1; yours gives {found}.'
        for name, value, expected in zip(('exact match', 'F1'), found, right, strict=True):
            assert abs(value - expected) < 1e-09, f'The {name} of {prediction!r} with the keys {keys} is {expected:.3g}, and yours is {value:.3g}.'
