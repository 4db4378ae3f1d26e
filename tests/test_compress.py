"""Distillation against its definition, shallow students, eight bits, and what is stored and waited for."""

import time
import warnings

import pytest
import torch
from safetensors.torch import save
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, ModernBertConfig, ModernBertModel

from utils.adaptation import blocks
from utils.compress import (
    Int8Linear,
    _integer_product,
    distillation_loss,
    milliseconds,
    quantize,
    shallow,
    stored_bytes,
    to_int8,
    typical,
)
from utils.errors import CourseError
from utils.pruning import layer_weights, magnitude_masks

SIZE = 16
IDS = torch.arange(3, 21).reshape(3, 6)
kinds = pytest.mark.parametrize("kind", ["gpt2", "bert", "modernbert"])


def network(kind, layers=4):
    torch.manual_seed(0)
    common = {"vocab_size": 40, "pad_token_id": 0}
    if kind == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(n_layer=layers, n_embd=SIZE, n_head=2, n_positions=12, initializer_range=0.2, **common)
        ).eval()
    common |= {
        "hidden_size": SIZE, "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": 24,
        "max_position_embeddings": 12, "initializer_range": 0.2,
    }  # fmt: skip
    if kind == "bert":
        return BertModel(BertConfig(**common)).eval()
    return ModernBertModel(ModernBertConfig(cls_token_id=1, sep_token_id=2, **common)).eval()


def states(model):
    with torch.no_grad():
        return model.base_model(input_ids=IDS).last_hidden_state


# Distillation


def test_distillation_by_definition():
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 3), torch.randn(5, 3)
    for t in (1.0, 4.0):
        p, q = (teacher / t).softmax(-1), (student / t).softmax(-1)
        soft = t**2 * (p * (p / q).log()).sum(-1).mean()
        torch.testing.assert_close(distillation_loss(student, teacher, t), soft)
    assert distillation_loss(teacher, teacher).item() == pytest.approx(0, abs=1e-6)


def test_the_teacher_does_not_learn_and_high_temperatures_keep_the_gradient():
    torch.manual_seed(0)
    student, teacher = (torch.randn(4, 3, requires_grad=True) for _ in range(2))
    sizes = []
    for t in (10.0, 100.0):
        (slope,) = torch.autograd.grad(distillation_loss(student, teacher, t), student)
        sizes.append(slope.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.2)
    distillation_loss(student, teacher).backward()
    assert teacher.grad is None


@kinds
def test_a_shallow_copy_has_the_layers_asked_for(kind):
    model = network(kind)
    before = states(model)
    student = shallow(model, [0, 2])
    assert len(blocks(student)) == 2 == student.config.num_hidden_layers
    own, kept = blocks(student)[1].state_dict(), blocks(model)[2].state_dict()
    assert all(torch.equal(own[name], kept[name]) for name in kept)
    assert torch.equal(states(model), before), "the model is left as it was"
    torch.testing.assert_close(states(shallow(model, [0, 1, 2, 3])), before)
    first = shallow(model, [0])
    with torch.no_grad():
        inner = model.base_model(input_ids=IDS, output_hidden_states=True).hidden_states[1]
        outer = first.base_model(input_ids=IDS, output_hidden_states=True)
    if kind == "bert":  # the others end with a norm
        torch.testing.assert_close(outer.last_hidden_state, inner)
    assert len(outer.hidden_states) == 2


def test_a_shallow_gpt2_still_generates():
    student = shallow(network("gpt2"), [1, 3])
    with torch.no_grad():
        logits = student(IDS, use_cache=True)
        step = student(IDS[:, -1:], past_key_values=student(IDS[:, :-1], use_cache=True).past_key_values)
    torch.testing.assert_close(step.logits[:, -1], logits.logits[:, -1])


# Eight bits


def test_codes_are_within_half_a_step():
    torch.manual_seed(0)
    x = torch.randn(6, 10)
    x[2] = 0
    codes, scale = to_int8(x)
    assert codes.dtype == torch.int8 and scale.shape == (6, 1) and codes.abs().max() == 127
    assert ((codes * scale - x).abs() <= scale / 2 + 1e-6).all()


def test_the_integer_product_is_exact():
    generator = torch.Generator().manual_seed(0)
    for rows, width, out in ((1, 3, 2), (5, 192, 7), (33, 2000, 17)):
        x, w = (
            torch.randint(-127, 128, shape, generator=generator, dtype=torch.int8)
            for shape in ((rows, width), (out, width))
        )
        assert torch.equal(_integer_product(x, w).double(), x.double() @ w.double().T)


def test_an_int8_map_is_close_to_its_linear_map():
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 32)
    eight = Int8Linear(linear.weight, linear.bias)
    x = torch.randn(2, 5, 64)
    error = (eight(x) - linear(x)).norm() / linear(x).norm()
    assert error < 0.02 and eight(x).shape == (2, 5, 32)
    assert eight(x.bfloat16()).dtype == torch.bfloat16
    assert eight.codes.shape == (32, 64) and not list(eight.parameters())
    without_bias = Int8Linear(linear.weight, None)
    torch.testing.assert_close(without_bias(x) + linear.bias, eight(x))


@kinds
def test_a_quantized_model_says_nearly_the_same(kind):
    model = network(kind)
    before = states(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        eight = quantize(model)
        after = states(eight)
    assert 0 < (after - before).norm() / before.norm() < 0.1
    assert sum(isinstance(m, Int8Linear) for m in eight.modules()) == len(layer_weights(model))
    assert torch.equal(states(model), before) and not any(isinstance(m, Int8Linear) for m in model.modules())
    inside = sum(p.numel() for p in dict(model.named_parameters()).values())
    assert stored_bytes(eight) < stored_bytes(model) == 4 * inside


def test_a_classifier_keeps_its_head():
    class OnTop(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.head = network("gpt2").base_model, torch.nn.Linear(SIZE, 2)

    eight = quantize(OnTop())
    assert isinstance(eight.head, torch.nn.Linear) and isinstance(eight.encoder.h[0].attn.c_attn, Int8Linear)


# What it costs


@kinds
def test_stored_bytes_are_those_of_a_file(kind):
    model = network(kind)
    state = {n: v.clone() for n, v in model.base_model.state_dict().items()}
    header = 8 + int.from_bytes(save(state)[:8], "little")
    assert stored_bytes(model.base_model) == len(save(state)) - header
    assert stored_bytes(model, dtype=torch.float16) * 2 == stored_bytes(model)


def test_pruned_weights_cost_a_bit():
    model = network("gpt2")
    masks = magnitude_masks(model, 0.75)
    weights = sum(mask.numel() for mask in masks.values())
    saved = stored_bytes(model) - stored_bytes(model, masks)
    assert saved == pytest.approx(4 * 0.75 * weights - weights / 8, abs=8)


def test_times_are_taken_in_turns_on_one_thread():
    calls, threads = [], torch.get_num_threads()

    def use(name, seconds):
        def work():
            calls.append((name, torch.get_num_threads()))
            end = time.process_time() + seconds
            while time.process_time() < end:
                pass

        return work

    found = milliseconds({"slow": use("slow", 0.02), "fast": use("fast", 0.002)}, texts=2, repeats=2)
    assert [name for name, _ in calls] == ["slow", "fast", "fast", "slow", "slow", "fast"]
    assert {n for _, n in calls} == {1} and torch.get_num_threads() == threads
    assert {name: len(values) for name, values in found.items()} == {"slow": 2, "fast": 2}
    times = typical(found)
    assert 10 <= times["slow"] < 20 and 1 <= times["fast"] < 5


def test_mistakes_get_one_sentence():
    model = network("gpt2")
    two, three = torch.zeros(2, 2), torch.zeros(2, 3)
    for call, message in (
        (lambda: distillation_loss(two, three), r"Student and teacher differ in shape, \[2, 2\] against \[2, 3\]"),
        (lambda: distillation_loss(two, two, 0), "Distillation needs a temperature above 0, not 0."),
        (lambda: shallow(model, [0, 4]), r"Layers \[0, 4\] cannot be kept: the model has 0 to 3"),
        (lambda: shallow(model, []), r"Layers \[\] cannot be kept"),
        (lambda: quantize(torch.nn.Linear(2, 2)), "Linear is none of the Transformers known here"),
        (lambda: stored_bytes(model, {"wall": two}), "The mask of wall fits no weights of this model"),
        (lambda: milliseconds({}, 0), "7 repeats over 0 texts measure nothing"),
    ):  # fmt: skip
        with pytest.raises(CourseError, match="^" + message) as caught:
            call()
        assert "\n" not in str(caught.value)
