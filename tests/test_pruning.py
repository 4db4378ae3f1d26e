"""Heads and weights taken away: gates against the model's own arithmetic, masks against torch's, overlaps by hand."""

import math

import pytest
import torch
from torch.nn.utils import prune
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, ModernBertConfig, ModernBertModel

from utils.adaptation import blocks
from utils.errors import CourseError
from utils.pruning import (
    apply_masks,
    chance_overlap,
    classifier_losses,
    head_gates,
    head_importance,
    head_shape,
    kept_masks,
    layer_weights,
    magnitude_masks,
    overlap,
    pruned_scores,
    pruning_order,
    random_masks,
    random_order,
    rescored_order,
    rewind,
    sparsity,
    without,
)

SIZE, LAYERS, HEADS = 16, 3, 4
IDS = torch.arange(3, 21).reshape(3, 6)
WEIGHTS_BEHIND = {"gpt2": "attn.c_proj", "modernbert": "attn.Wo", "bert": "attention.output.dense"}
kinds = pytest.mark.parametrize("kind", list(WEIGHTS_BEHIND))


def network(kind):
    torch.manual_seed(0)
    common = {"vocab_size": 40, "pad_token_id": 0}
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(
            n_layer=LAYERS, n_embd=SIZE, n_head=HEADS, n_positions=12, initializer_range=0.3, **common
        )).base_model.eval()  # fmt: skip
    common |= {
        "hidden_size": SIZE, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": 24,
        "max_position_embeddings": 12, "initializer_range": 0.3,
    }  # fmt: skip
    if kind == "bert":
        return BertModel(BertConfig(**common)).eval()
    return ModernBertModel(ModernBertConfig(cls_token_id=1, sep_token_id=2, **common)).eval()


def text_losses(model, ids=IDS):
    return model(input_ids=ids).last_hidden_state[..., 0].square().sum(1)


def states(model):
    with torch.no_grad():
        return model(input_ids=IDS).last_hidden_state


# Heads


@kinds
def test_a_gate_is_the_same_as_zeros_in_the_next_map(kind):
    model, changed = network(kind), network(kind)
    layer, head, width = 1, 2, SIZE // HEADS
    weight = blocks(changed)[layer].get_submodule(WEIGHTS_BEHIND[kind]).weight.data
    place = slice(head * width, (head + 1) * width)
    if kind == "gpt2":  # [in, out]
        weight[place] = 0
    else:
        weight[:, place] = 0
    before = states(model)
    with head_gates(model, without([(layer, head)], head_shape(model))):
        silent = states(model)
    torch.testing.assert_close(silent, states(changed))
    assert not torch.allclose(silent, before, atol=1e-4)
    assert torch.equal(states(model), before), "the hooks are gone"


@kinds
def test_open_gates_change_nothing_and_an_error_inside_removes_them(kind):
    model = network(kind)
    before = states(model)
    with head_gates(model, torch.ones(LAYERS, HEADS)):
        torch.testing.assert_close(states(model), before)
    with pytest.raises(KeyError), head_gates(model, torch.zeros(LAYERS, HEADS)):
        raise KeyError
    assert torch.equal(states(model), before)


@kinds
def test_importance_is_the_slope_of_each_text(kind):
    model, step = network(kind), 1e-3
    found = head_importance(model, [lambda: text_losses(model)], by_layer=False)
    assert found.shape == (LAYERS, HEADS) and (found >= 0).all()
    model.double()
    for layer, head in ((0, 0), (2, 3)):
        values = []
        for sign in (1, -1):
            gates = torch.ones(LAYERS, HEADS)
            gates[layer, head] += sign * step
            with head_gates(model, gates), torch.no_grad():
                values.append(text_losses(model))
        slopes = (values[0] - values[1]) / (2 * step)
        assert found[layer, head].item() == pytest.approx(slopes.abs().mean().item(), rel=0.01)


def test_importance_adds_up_over_batches_and_leaves_gradients_alone():
    model = network("gpt2")
    whole = head_importance(model, [lambda: text_losses(model)])
    parts = head_importance(model, [lambda i=i: text_losses(model, IDS[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(whole, parts)
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(LAYERS))
    gates = without([(0, 1), (0, 2), *((1, head) for head in range(HEADS))], (LAYERS, HEADS))
    some = head_importance(model, [lambda: text_losses(model)], gates)
    torch.testing.assert_close((some * gates).norm(dim=1), torch.tensor([1.0, 0.0, 1.0]))
    assert (some[gates == 0] > 0).any() and some.isfinite().all()
    assert all(p.grad is None for p in model.parameters())


def test_importance_with_heads_gone_is_that_of_the_pruned_model():
    model = network("bert")
    gates = without([(0, 1), (2, 0)], (LAYERS, HEADS))
    found = head_importance(model, [lambda: text_losses(model)], gates, by_layer=False)
    assert not torch.allclose(found, head_importance(model, [lambda: text_losses(model)], by_layer=False))
    for block, row in zip(blocks(model), gates, strict=True):
        weight = block.get_submodule(WEIGHTS_BEHIND["bert"]).weight.data
        weight *= row.repeat_interleave(SIZE // HEADS)
    own = head_importance(model, [lambda: text_losses(model)], by_layer=False)
    torch.testing.assert_close(found * gates, own * gates)


def test_orders():
    scores = torch.tensor([[0.3, 0.1], [0.2, 0.4]])
    assert pruning_order(scores) == [(0, 1), (1, 0), (0, 0), (1, 1)]
    order = random_order((3, 4), 1)
    assert order == random_order((3, 4), 1) != random_order((3, 4), 2)
    assert sorted(order) == [(i, j) for i in range(3) for j in range(4)]
    seen = []

    def score(gates):
        seen.append(int(gates.sum()))
        return scores if gates.all() else -scores

    assert rescored_order(score, (2, 2)) == [(0, 1), (1, 1), (0, 0), (1, 0)]
    assert seen == [4, 3, 2, 1], "heads are scored anew after each removal"


def test_pruned_scores_and_their_gates():
    model, silent = network("gpt2"), []
    whole = states(model)
    scores = pruned_scores(
        lambda: (states(model) - whole).norm().item(), model, [(0, 0), (1, 3), (2, 2)], [0, 1, 3]
    )
    assert scores[0] == pytest.approx(0, abs=1e-4) and 0 < scores[1] != scores[2]
    assert not silent and torch.equal(states(model), whole)
    assert without([(1, 0)], (2, 2)).tolist() == [[1, 1], [0, 1]]


class Labels(torch.nn.Module):
    """A classifier without a network."""

    def __init__(self, tokenizer):
        super().__init__()
        self.tokenizer, self.head = tokenizer, torch.nn.Linear(1, 2)

    def forward(self, batch):
        return self.head((batch != self.tokenizer.pad_token_id).sum(1, keepdim=True).float())


class Words:
    """A tokenizer of words' lengths."""

    pad_token_id, bos_token_id, eos_token_id = 0, 1, 2

    def __call__(self, texts, **_):
        return {"input_ids": [[3 + len(word) for word in text.split()] for text in texts]}


def test_losses_of_a_classifier_come_text_by_text():
    model = Labels(Words())
    texts, labels = 14 * ["a bb", "a", "a b c d", "aa", "b b b"], 14 * [0, 1, 0, 1, 1]
    losses = [loss() for loss in classifier_losses(model, texts, labels)]
    assert [len(loss) for loss in losses] == [32, 32, 6]
    lengths = torch.tensor([[len(text.split()) + 2.0] for text in texts])
    expected = -model.head(lengths).log_softmax(-1)[range(70), labels]
    torch.testing.assert_close(torch.cat(losses), expected)
    with pytest.raises(CourseError, match="^There are 70 texts and 1 labels: give one label for each text.$"):
        next(classifier_losses(model, texts, [0]))


# Weights


@kinds
def test_weights_are_the_matrices_of_the_layers(kind):
    names = layer_weights(network(kind))
    assert len(names) == LAYERS * {"gpt2": 4, "modernbert": 4, "bert": 6}[kind]
    assert not [name for name in names if "emb" in name or "norm" in name or "wte" in name or "bias" in name]


def test_magnitude_masks_are_those_of_torch():
    model, other = network("bert"), network("bert")
    masks = magnitude_masks(model, 0.3)
    assert list(masks) == layer_weights(model)
    assert sparsity(masks) == pytest.approx(0.3, abs=0.001)
    modules = [(other.get_submodule(name.removesuffix(".weight")), "weight") for name in masks]
    prune.global_unstructured(modules, prune.L1Unstructured, amount=0.3)
    for (module, _), mask in zip(modules, masks.values(), strict=True):
        assert torch.equal(module.weight_mask.bool(), mask)


def test_step_by_step_masks_shrink():
    model = network("gpt2")
    first = magnitude_masks(model, 0.2)
    apply_masks(model, first)
    with torch.no_grad():  # what is gone stays gone, whatever its weight has become
        for name, parameter in model.named_parameters():
            if name in first:
                parameter[~first[name]] = 9.0
    second = magnitude_masks(model, 0.5, masks=first)
    assert sparsity(second) == pytest.approx(0.5, abs=0.001)
    assert all(not (second[name] & ~first[name]).any() for name in first)


def test_random_masks_keep_as_many():
    model = network("gpt2")
    masks = magnitude_masks(model, 0.4)
    control = random_masks(masks, 3)
    assert {n: int(m.sum()) for n, m in control.items()} == {n: int(m.sum()) for n, m in masks.items()}
    assert 0.3 < overlap(masks, control) < 0.6 and overlap(control, random_masks(masks, 3)) == 1


def test_masks_hold_through_training_and_the_ticket_goes_back():
    model = network("bert")
    start = {name: value.clone() for name, value in model.state_dict().items()}
    masks = magnitude_masks(model, 0.5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    parameters = dict(model.named_parameters())
    with kept_masks(model, masks):
        for _ in range(3):
            text_losses(model).sum().backward()
            assert all((parameters[n].grad[~mask] == 0).all() for n, mask in masks.items())
            optimizer.step()
            optimizer.zero_grad()
    for name, mask in masks.items():
        assert (parameters[name][~mask] == 0).all()
        assert (parameters[name] != start[name])[mask].float().mean() > 0.9
    text_losses(model).sum().backward()
    assert any((parameters[n].grad[~mask] != 0).any() for n, mask in masks.items()), "the hooks are gone"
    rewind(model, start, masks)
    for name, value in model.state_dict().items():
        assert torch.equal(value, start[name] * masks[name] if name in masks else start[name])


# Overlap


def test_overlap_by_hand():
    a, b = torch.tensor([[1, 1, 0], [1, 0, 0]]), torch.tensor([[1, 0, 1], [1, 0, 0]])
    assert overlap(a, b) == 2 / 4
    assert overlap({"x": a, "y": b}, {"x": b, "y": b}) == 5 / 7
    assert overlap(torch.zeros(2), torch.zeros(2)) == 1


def test_overlap_by_chance_is_the_mean_of_random_masks():
    assert chance_overlap(1, 1, 2) == 0.5
    assert chance_overlap(4, 4, 4) == pytest.approx(1)
    generator = torch.Generator().manual_seed(0)
    drawn = [
        overlap(torch.randperm(16, generator=generator) < 8, torch.randperm(16, generator=generator) < 4)
        for _ in range(2000)
    ]
    error = 4 * torch.tensor(drawn).std().item() / math.sqrt(2000)
    assert chance_overlap(8, 4, 16) == pytest.approx(sum(drawn) / 2000, abs=error)


# Mistakes


def test_mistakes_get_one_sentence():
    model, other = network("gpt2"), network("bert")
    masks = magnitude_masks(model, 0.5)
    first = layer_weights(model)[0]
    for call, message in (
        (lambda: head_shape(torch.nn.Linear(2, 2)), "Linear is none of the Transformers known here: give a gpt2, "),
        (lambda: pruned_scores(lambda: 0.0, model, [(0, 0)], [2]), "2 heads were to be silenced, and the order"),
        (lambda: without([(0, 4)], (3, 4)), "There is no head 4 in layer 0: the model has layers 0 to 2"),
        (lambda: head_gates(model, torch.ones(3, 3)).__enter__(), r"Gates of shape \[3, 3\] were given"),
        (lambda: head_importance(model, []), "The importance of heads needs at least one batch of texts."),
        (
            lambda: head_importance(model, [lambda: text_losses(model).mean()]),
            r"A batch of 3 texts gave losses of shape \[\]: give one loss per text.",
        ),
        (
            lambda: head_importance(model, [lambda: text_losses(other)]),
            "The losses do not depend on this model's heads",
        ),
        (
            lambda: head_importance(model, [lambda: states(model)[:, 0, 0]]),
            "The losses do not depend on this model's heads",
        ),
        (lambda: magnitude_masks(model, 1.0), "A sparsity of 1.0 was asked for"),
        (lambda: magnitude_masks(model, 0.1, masks=masks), "The masks given leave out .* ask for a higher one"),
        (lambda: apply_masks(other, masks), f"The mask of {first} has the shape .* and the parameter is missing"),
        (lambda: rewind(model, other.state_dict(), masks), "The weights to go back to do not fit: "),
        (lambda: overlap(masks, {first: masks[first]}), "Two masks of different parameters or shapes"),
        (lambda: chance_overlap(5, 1, 4), "5 and 1 of 4 things cannot be kept"),
    ):  # fmt: skip
        with pytest.raises(CourseError, match="^" + message) as caught:
            call()
        assert "\n" not in str(caught.value)
