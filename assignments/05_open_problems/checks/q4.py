"""Public checks of q4, made from 05_open_problems.py by `make assignments`."""


def test_two_prompts(answer, mine):
    """points: 1"""
    labels = [0, 1, 0, 1, 0, 1, 0, 1]
    said = [[0, 1, 0, 0, 1, 1, 1, 0], [1, 0, 1, 0, 0, 1, 1, 0]]
    scores = [[3 + (2 * answer - 1) * (t + 1) / 2 for t, answer in enumerate(row)] for row in said]
    found = answer.honest_accuracy(scores, labels, [0, 1, 2, 3])
    assert found is not None, 'honest_accuracy gives None: does it return its number?'
    assert abs(found - 0.5) < 1e-09, f'In the example prompt 2 is taken, exchanged, and right on two of the other four texts; yours gives {found:.3f}.'
    found = answer.honest_accuracy([[9, 8, 7, 6], [1, 2, 1, 2]], [0, 1, 0, 1], [0, 1])
    assert abs(found - 1) < 1e-09, f'A prompt that says good to everything still has its median for a zero; here the second one is perfect, and yours gives {found:.3f}.'
