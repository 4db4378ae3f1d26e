"""Public checks of q1, made from 05_open_problems.py by `make assignments`."""


def test_worked_examples(answer, mine):
    """points: 1"""
    for failures, runs, low, high in ((3, 10, 0.1078, 0.6032), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)):
        found = answer.wilson(failures, runs)
        assert found is not None, 'wilson gives None: does it return its pair?'
        assert len(found) == 2, f'wilson gives a pair, low and high, and yours gives {found}.'
        assert abs(found[0] - low) < 0.001 and abs(found[1] - high) < 0.001, f'For {failures} failures of {runs}, yours goes from {found[0]:.3f} to {found[1]:.3f}. Compare with the formula: its middle is not the share itself, and everything stands over 1 + z²/n.'
    for only_a, only_b, both, right in ((6, 1, 3, 0.125), (6, 0, 0, 2 / 64), (2, 2, 0, 1.0), (0, 0, 4, 1.0)):
        a = [True] * only_a + [False] * only_b + [True] * both
        b = [False] * only_a + [True] * only_b + [True] * both
        found = answer.sign_test(a, b)
        assert found is not None, 'sign_test gives None: does it return its number?'
        assert abs(found - right) < 1e-09, f'Only A failed {only_a} times, only B {only_b} times, both {both} times: your p is {found:.4f}. It counts both directions, leaves out pairs that agree, and is at most 1.'
