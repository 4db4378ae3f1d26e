"""Public checks of q5, made from 04_applications.py by `make assignments`."""


def test_sampler_examples(answer, mine):
    """points: 1"""
    probabilities = [0.1, 0.5, 0.15, 0.25]
    for p, u, right in ((0.7, 0.6, 1), (0.7, 0.7, 3), (0.75, 0.99, 3), (0.76, 0.99, 2), (0.3, 0.99, 1), (1.0, 0.99, 0), (0.7, 0.0, 1)):
        found = answer.nucleus(probabilities, p, u)
        assert found is not None, 'nucleus gives None: does it return the number of a word?'
        assert found == right, f'nucleus({probabilities}, p={p}, u={u}) draws word {right}, and yours draws {found}.'
    table = [[0.0, 1.0, 0.0], [0.25, 0.0, 0.75], [1.0, 0.0, 0.0]]
    for p, uniforms, right in ((1.0, [0.5, 0.1, 0.5, 0.5], [1, 2]), (1.0, [0.5, 0.9, 0.2], [1]), (0.7, [0.5, 0.9, 0.2], [1, 2]), (1.0, [0.5], [1])):
        found = answer.reply(table, p, uniforms)
        assert found is not None, 'reply gives None: does it return its list?'
        assert list(found) == right, f'reply({table}, {p}, {uniforms}) is {right}, and yours gives {list(found)}.'
