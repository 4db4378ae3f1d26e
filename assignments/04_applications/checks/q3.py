"""Public checks of q3, made from 04_applications.py by `make assignments`."""


def test_small_page(answer, mine):
    """points: 1"""
    windows = [{'begin': 0, 'start': [1, 5, 9], 'end': [0, 1, 4], 'owned': [True, True, False]}, {'begin': 2, 'start': [2, 0, 1], 'end': [6, 3, 1], 'owned': [True, True, True]}]
    right = [(1, 2, 9), (3, 3, 3), (4, 4, 2), (0, 0, 1)]
    for count in (1, 2, 10):
        found = answer.best_answers(windows, 2, count)
        assert found is not None, 'best_answers gives None: does it return its list?'
        found = [(int(first), int(last), float(score)) for first, last, score in found]
        assert found == right[:count], f'The {count} best answers of the example are {right[:count]}, and yours are {found}.'
