"""Public checks of q4, made from 01_pretraining.py by `make assignments`."""


def test_kong_example(answer, mine):
    """points: 1"""
    texts = [['in', 'hong', 'kong'], ['hong', 'kong'], ['in', 'rome']]
    found = answer.continuation(texts)
    assert isinstance(found, dict), 'continuation must return a dictionary.'
    right = {'in': 1 / 7, 'hong': 2 / 7, 'kong': 1 / 7, 'rome': 1 / 7, '</s>': 2 / 7}
    assert set(found) == set(right), f'In the example these words stand second in a pair: {sorted(right)}.'
    for word, value in right.items():
        assert abs(found[word] - value) < 1e-06, f'In the example {word!r} has {value:.3f}, not {found[word]:.3f}.'
    p = answer.probability(texts, 0.5, 'hong', 'kong')
    assert abs(p - (0.75 + 0.25 / 7)) < 1e-06, f'In the example p(kong | hong) is 0.786, not {p:.3f}.'
