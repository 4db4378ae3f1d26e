"""Groups, freezing, schedules, adapters, penalties and the Fisher information, against values known on paper."""

import math
from copy import deepcopy

import pytest
import torch
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, ModernBertConfig, ModernBertModel

from utils.adaptation import (
    Adapted,
    Anchor,
    Bottleneck,
    adamw,
    add_adapters,
    blocks,
    constant,
    fisher,
    layer_patterns,
    linear_warmup,
    matching,
    rate_groups,
    slanted_triangular,
    train_only,
)
from utils.errors import CourseError

SIZE = 16


def network(kind):
    torch.manual_seed(0)
    common = {"vocab_size": 40, "pad_token_id": 0}
    if kind == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(n_layer=3, n_embd=SIZE, n_head=2, n_positions=12, initializer_range=0.3, **common)
        ).base_model.eval()
    common |= {"hidden_size": SIZE, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
    if kind == "bert":
        return BertModel(BertConfig(max_position_embeddings=12, initializer_range=0.3, **common)).eval()
    return ModernBertModel(
        ModernBertConfig(
            max_position_embeddings=12, initializer_range=0.3, cls_token_id=1, sep_token_id=2, **common
        )
    ).eval()


class OnTop(torch.nn.Module):
    """An encoder with a head, named as in utils.classification.Classifier."""

    def __init__(self, kind):
        super().__init__()
        self.encoder, self.head = network(kind), torch.nn.Linear(SIZE, 2)


kinds = pytest.mark.parametrize("kind", ["gpt2", "bert", "modernbert"])
IDS = torch.arange(3, 21).reshape(3, 6)


# Which weights


def test_train_only_freezes_the_rest():
    model = OnTop("gpt2")
    assert train_only(model, "head.*") == SIZE * 2 + 2
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {"head.weight", "head.bias"}
    biases = sum(p.numel() for n, p in model.named_parameters() if n.endswith("bias"))
    assert train_only(model, "head.*", "*bias") == biases + SIZE * 2, "what was frozen is thawed again"


def test_a_name_without_parameters_gets_one_sentence():
    model = OnTop("gpt2")
    message = (
        r"^No parameter has a name like 'encoder.layers.9.\*': the names begin with encoder.wte.weight, "
    )
    for call in (
        lambda: matching(model, "encoder.layers.9.*"),
        lambda: train_only(model, "head.*", "encoder.layers.9.*"),
        lambda: rate_groups(model, {"encoder.layers.9.*": 0.1, "*": 1.0}),
    ):
        with pytest.raises(CourseError, match=message):
            call()


def test_rate_groups_take_each_parameter_once():
    model = OnTop("gpt2")
    groups = rate_groups(model, {"head.*": 1.0, "encoder.h.2.*": 0.5, "*": 0.1})
    assert [group["scale"] for group in groups] == [1.0, 0.5, 0.1]
    sizes = [sum(p.numel() for p in group["params"]) for group in groups]
    layer = sum(p.numel() for p in model.encoder.h[2].parameters())
    total = sum(p.numel() for p in model.parameters())
    assert sizes == [SIZE * 2 + 2, layer, total - layer - SIZE * 2 - 2]
    assert len(rate_groups(model, {"*": 1.0, "head.*": 2.0})) == 1, "the first pattern has taken all"


def test_a_trained_parameter_needs_a_group():
    model = OnTop("gpt2")
    with pytest.raises(CourseError, match="^encoder.wte.weight is to be trained and matches no pattern of "):
        rate_groups(model, {"head.*": 1.0})
    train_only(model, "head.*")
    assert len(rate_groups(model, {"head.*": 1.0})) == 1


@kinds
def test_layers_from_top_to_bottom(kind):
    model = OnTop(kind)
    layers = layer_patterns(model)
    assert len(layers) == 5, "the head, three layers, the embeddings"
    found = [{name for pattern in some for name in matching(model, pattern)} for some in layers]
    assert set.union(*found) == {name for name, _ in model.named_parameters()}
    assert sum(map(len, found)) == len(set.union(*found)), "no parameter stands in two layers"
    assert found[0] == {"head.weight", "head.bias"}
    for depth, names in zip((2, 1, 0), found[1:4], strict=True):
        assert any(f".{depth}." in name for name in names)
        assert not any(f".{other}." in name for name in names for other in {0, 1, 2} - {depth})
    assert all("embeddings" in name or "wte" in name or "wpe" in name for name in found[4])
    with pytest.raises(
        CourseError, match="^Linear has no encoder with a list of layers: give a Classifier[.]$"
    ):
        layer_patterns(model.head)


@kinds
def test_blocks_are_the_layers_from_the_bottom(kind):
    model = network(kind)
    names = {id(module): name for name, module in model.named_modules()}
    assert [names[id(block)].rpartition(".")[2] for block in blocks(model)] == ["0", "1", "2"]
    with pytest.raises(CourseError, match="^Linear is none of the Transformers known here: give a gpt2, "):
        blocks(torch.nn.Linear(2, 2))


# AdamW by hand


@pytest.mark.parametrize("correct_bias", [True, False])
def test_adamw_with_and_without_its_correction(correct_bias):
    """Steps against the equations of Kingma and Ba (2015), with the decoupled decay of Loshchilov and Hutter (2019)."""
    weight = torch.nn.Parameter(torch.tensor([2.0, -1.0], dtype=torch.float64))
    optimizer = adamw([{"params": [weight], "scale": 1.0}], 0.1, correct_bias)
    x, m, v = weight.detach().clone(), torch.zeros(2), torch.zeros(2)
    for step in range(1, 5):
        slope = torch.tensor([0.5 * step, -3.0], dtype=torch.float64)
        weight.grad = slope.clone()
        optimizer.step()
        m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
        first, second = (1 - 0.9**step, 1 - 0.999**step) if correct_bias else (1.0, 1.0)
        x = x * (1 - 0.1 * 0.01) - 0.1 * (m / first) / ((v / second).sqrt() + 1e-8)
        torch.testing.assert_close(weight.detach(), x)


# Schedules, point by point


def test_slanted_triangular_rates():
    """Equation 3 of Howard and Ruder (2018) with T = 100, cut_frac = 0.1, ratio = 32: cut = 10."""
    assert slanted_triangular(0, 100) == pytest.approx(1 / 32)
    assert slanted_triangular(5, 100) == pytest.approx((1 + 0.5 * 31) / 32)
    assert slanted_triangular(10, 100) == pytest.approx(1.0)
    assert slanted_triangular(55, 100) == pytest.approx((1 + 0.5 * 31) / 32)
    assert slanted_triangular(100, 100) == pytest.approx(1 / 32)
    assert slanted_triangular(40, 100, share=0.2, ratio=4) == pytest.approx((1 + 0.75 * 3) / 4)
    assert all(0 < slanted_triangular(step, 3) <= 1 for step in range(3))


def test_linear_warmup():
    """Ten steps up, ninety down."""
    assert linear_warmup(0, 100) == pytest.approx(0.1)
    assert linear_warmup(9, 100) == pytest.approx(1.0)
    assert linear_warmup(10, 100) == pytest.approx(1.0)
    assert linear_warmup(55, 100) == pytest.approx(0.5)
    assert linear_warmup(99, 100) == pytest.approx(1 / 90)
    assert linear_warmup(1, 20, share=0.5) == pytest.approx(0.2)
    assert [constant(step, 7) for step in range(7)] == [1.0] * 7
    assert all(0 < linear_warmup(step, 2) <= 1 for step in range(2))


# Adapters


@kinds
@pytest.mark.parametrize("parallel", [False, True])
def test_adapters_begin_as_the_identity(kind, parallel):
    model = network(kind)
    with torch.no_grad():
        before = model(IDS).last_hidden_state
        add_adapters(model, 4, parallel=parallel)
        assert torch.equal(model(IDS).last_hidden_state, before)
        for module in model.modules():
            if isinstance(module, Bottleneck):
                torch.nn.init.normal_(module.up.weight)
        assert not torch.allclose(model(IDS).last_hidden_state, before, atol=1e-2), "and then they matter"
    adapters = [m for m in model.modules() if isinstance(m, Adapted)]
    assert len(adapters) == 6, "two in each of three layers"
    each = 2 * SIZE * 4 + 4 + SIZE
    assert sum(p.numel() for n, p in model.named_parameters() if "adapter" in n) == 6 * each
    deepcopy(model)


def test_a_parallel_adapter_reads_what_its_sublayer_reads():
    first, last = torch.nn.Linear(3, 5), torch.nn.Linear(5, 3)
    adapter = Bottleneck(3, 2)
    torch.nn.init.normal_(adapter.up.weight)
    x = torch.randn(4, 3)
    beside = Adapted(last, adapter, first)
    after = Adapted(last, adapter)
    plain = last(first(x).relu())
    torch.testing.assert_close(beside(first(x).relu()), plain + adapter(x))
    torch.testing.assert_close(after(first(x).relu()), plain + adapter(plain))


def test_only_adapters_learn():
    model = network("gpt2")
    before = {name: p.clone() for name, p in model.named_parameters()}
    add_adapters(model, 4)
    train_only(model, "*adapter*")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        model(IDS).last_hidden_state.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    state = dict(model.named_parameters())
    assert all(torch.equal(state[n.replace("c_proj.", "c_proj.last.")], p) for n, p in before.items())
    assert all(p.abs().sum() > 0 for n, p in state.items() if n.endswith("adapter.up.weight"))


def test_mistakes_about_adapters_get_one_sentence():
    with pytest.raises(CourseError, match="^An adapter of width 0 was asked for, and the least is 1[.]$"):
        add_adapters(network("gpt2"), 0)
    message = (
        r"^Adapters go to attention or mlp of a gpt2, modernbert, bert model, not to \['head'\] of gpt2[.]$"
    )
    with pytest.raises(CourseError, match=message):
        add_adapters(network("gpt2"), 4, places=("head",))


# Penalties


def test_anchor_pulls_to_where_it_was_set():
    model = torch.nn.Linear(2, 1)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    anchor = Anchor(model, strength=3.0)
    assert anchor().item() == 0
    with torch.no_grad():
        model.weight += torch.tensor([[1.0, -2.0]])
        model.bias += 0.5
    assert anchor().item() == pytest.approx(3 / 2 * (1 + 4 + 0.25))
    anchor().backward()
    torch.testing.assert_close(model.weight.grad, 3 * (model.weight - start["weight"]))


def test_anchor_with_importance_holds_what_it_names():
    model = torch.nn.Linear(2, 1)
    anchor = Anchor(model, 2.0, {"weight": torch.tensor([[1.0, 10.0]])})
    with torch.no_grad():
        model.weight += 1
        model.bias += 100
    assert anchor().item() == pytest.approx(2 / 2 * 11), "the bias is free"
    with pytest.raises(CourseError, match="^No parameter of the model has an importance: "):
        Anchor(model, 1.0, {"other": torch.ones(1)})


def test_fisher_of_a_logistic_regression():
    """In closed form: the mean over x of p (1 - p) x^2, labels drawn from the model."""
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.8, -0.3]]))
        model.bias.fill_(0.2)
    points = torch.tensor([[1.0, 0.0], [0.5, 2.0], [-1.0, 1.0]])

    def draw(x):
        def log_likelihood():
            score = model(x)[0]
            label = torch.bernoulli(score.sigmoid().detach())
            return -torch.nn.functional.binary_cross_entropy_with_logits(score, label)

        return log_likelihood

    found = fisher(model, (draw(x) for _ in range(3000) for x in points))
    p = torch.tensor([1 / (1 + math.exp(-(0.8 * a - 0.3 * b + 0.2))) for a, b in points.tolist()])
    spread = p * (1 - p)
    torch.testing.assert_close(found["weight"][0], (spread[:, None] * points**2).mean(0), rtol=0.06, atol=0)
    torch.testing.assert_close(found["bias"][0], spread.mean(), rtol=0.06, atol=0)
    assert model.weight.grad is None, "no gradient is left behind"
    with pytest.raises(CourseError, match="^The Fisher information needs at least one item[.]$"):
        fisher(model, [])
