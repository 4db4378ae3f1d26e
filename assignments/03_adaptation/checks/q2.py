"""Public checks of q2, made from 03_adaptation.py by `make assignments`."""


def test_lora_example(answer, mine):
    """points: 1"""
    import torch
    w, a, b = (torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0]]))
    x = torch.tensor([[1.0, 1.0]])
    found = answer.merge(w, a, b, 2.0)
    assert found is not None, 'merge is not written yet: it must return a tensor.'
    assert tuple(found.shape) == (1, 2), f'A merged weight has the shape of the weight, [1, 2]; yours is {tuple(found.shape)}.'
    assert torch.allclose(found, torch.tensor([[7.0, 8.0]])), f'In the example merge gives [[7, 8]], yours {found.tolist()}.'
    found = answer.lora(x, w, a, b, 2.0)
    assert found is not None, 'lora is not written yet: it must return a tensor.'
    assert abs(float(found) - 15) < 1e-05, f'In the example lora takes (1, 1) to 15, yours to {found.tolist()}.'
    back = answer.switch(torch.tensor([[7.0, 8.0]]), (a, b, 2.0), (a, 0 * b, 2.0))
    assert back is not None and torch.allclose(back, w), 'Taking a task out and folding nothing in must give the weight back.'


def test_adapter_begins_as_nothing(answer, mine):
    """points: 0"""
    import torch
    h = torch.tensor([[1.0, -2.0]])
    down, none = (torch.tensor([[0.5, 1.0]]), torch.zeros(1))
    found = answer.adapter(h, down, none, torch.zeros(2, 1), torch.zeros(2))
    assert found is not None, 'adapter is not written yet: it must return a tensor.'
    assert torch.allclose(found, h), f'With `up` and its bias zero, h comes out as it went in: yours gives {found.tolist()}.'
