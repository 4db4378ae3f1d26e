"""Public checks of q1, made from 01_pretraining.py by `make assignments`."""


def test_rulers_example(answer, mine):
    """points: 1"""
    found = answer.rulers([[1.0, 1.0, 1.0, 2.0], [3.0, 1.0]], ['ab c', 'd'])
    assert isinstance(found, dict), 'rulers must return a dictionary.'
    right = {'bits per unit': 1.5, 'perplexity': 2 ** 1.5, 'bits per word': 1.8, 'bits per character': 9 / 7}
    for name, value in right.items():
        assert name in found, f'The dictionary of rulers has no {name!r}.'
        assert abs(found[name] - value) < 1e-06, f'In the example {name} is {value:.3f}, yours is {found[name]:.3f}. All bits of all texts are added before anything is divided, and each text has one end.'


def test_honest_example(answer, mine):
    """points: 0"""
    found = answer.honest([[2.0, 3.0, 1.0]], ['a zebu'], {'zebu': 12.0})
    assert isinstance(found, float), 'honest must return a number.'
    assert abs(found - 6.0) < 1e-06, f'In the example honest gives 6.0 bits per word, yours gives {found:.3f}.'
