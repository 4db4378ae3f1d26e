"""Smaller and faster models: distillation, fewer layers, eight-bit weights, and what they save (lab 5)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import kl_div, linear

from utils.adaptation import blocks
from utils.errors import CourseError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel

EXACT = 1040  # products of so many codes below 128 in size add up exactly in float32


# Distillation


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """The loss of a student [rows, classes] that learns from a teacher's logits of the same shape, a scalar in nats.

    T^2 * KL(teacher at T || student at T), the factor keeping gradients alike at every temperature T (Hinton et al.
    2015).

    Raises CourseError when the shapes differ or T is not positive.
    """
    if student.shape != teacher.shape:
        raise CourseError(
            f"Student and teacher differ in shape, {list(student.shape)} against {list(teacher.shape)}: give one logit "
            "of each for each text and class."
        )
    if not temperature > 0:
        raise CourseError(f"Distillation needs a temperature above 0, not {temperature}.")
    logs = [(logits.float() / temperature).log_softmax(-1) for logits in (student, teacher.detach())]
    return temperature**2 * kl_div(*logs, log_target=True, reduction="batchmean")


def shallow(model: PreTrainedModel, keep: Sequence[int]) -> PreTrainedModel:
    """A copy of a Transformer with the layers `keep` only, in that order, counted from 0: a student's beginning.

    Every second layer is DistilBERT's choice (Sanh et al. 2019). Raises CourseError for a layer that does not exist and
    for none at all.
    """
    layers = blocks(model)
    if not keep or not all(0 <= i < len(layers) for i in keep):
        raise CourseError(
            f"Layers {list(keep)} cannot be kept: the model has 0 to {len(layers) - 1}, and at least one must stay."
        )
    student = deepcopy(model)
    own = blocks(student)
    for module in student.modules():
        for name, child in module.named_children():
            if isinstance(child, torch.nn.ModuleList) and len(child) and child[0] is own[0]:
                setattr(module, name, torch.nn.ModuleList(own[i] for i in keep))
    for number, block in enumerate(blocks(student)):
        for module in block.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = number
    student.config.num_hidden_layers = len(keep)
    if getattr(student.config, "layer_types", None):
        student.config.layer_types = [model.config.layer_types[i] for i in keep]
    return student


# Eight bits


class Int8Linear(torch.nn.Module):
    """A linear map with weights of eight bits: codes [out, in] from -127 to 127 and one float scale for each row.

    Inputs get eight bits when they come, with one scale for each vector ("dynamic" quantization), codes are multiplied
    and added as integers, and the sums are scaled back to floats. For use, not for training.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        codes, scale = to_int8(weight.detach().float())
        self.register_buffer("codes", codes)
        self.register_buffer("scale", scale[:, 0])
        self.register_buffer("bias", None if bias is None else bias.detach().float().clone())

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out], in the dtype of `x`."""
        codes, scale = to_int8(x.float().reshape(-1, x.shape[-1]))
        out = _integer_product(codes, self.codes).mul_(scale).mul_(self.scale)
        out = out if self.bias is None else out.add_(self.bias)
        return out.view(*x.shape[:-1], -1).to(x.dtype)


def to_int8(x: Tensor) -> tuple[Tensor, Tensor]:
    """Codes int8 [rows, n] and scales [rows, 1] of a float matrix, so that codes * scale is within scale / 2 of it."""
    scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-12) / 127
    return (x / scale).round_().to(torch.int8), scale


def _integer_product(x: Tensor, weight: Tensor) -> Tensor:
    """x @ weight.T of int8 codes, as float32 [rows, out]."""
    if x.device.type == "cpu":
        return torch._int_mm(x, weight.t()).float()
    exact = torch.float32 if x.shape[-1] <= EXACT else torch.float64
    return linear(x.to(exact), weight.to(exact)).float()


@torch.no_grad()
def quantize(model: Module) -> Module:
    """A copy of a model for use, with eight-bit weights in the linear maps of its Transformer layers.

    Embeddings, norms and a new head stay floats. torch.ao.quantization.quantize_dynamic did the same and is on its way
    out of torch; torchao takes its place in practice. Raises CourseError when the model holds no known Transformer.
    """
    from transformers.pytorch_utils import Conv1D

    copy = deepcopy(model).eval()
    encoder = copy if hasattr(copy, "config") else getattr(copy, "encoder", copy)
    for block in blocks(encoder):
        for module in list(block.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, torch.nn.Linear | Conv1D):  # GPT-2's Conv1D is a linear map, transposed
                    weight = child.weight.T if isinstance(child, Conv1D) else child.weight
                    setattr(module, name, Int8Linear(weight, child.bias))
    return copy


# What it costs


def stored_bytes(
    model: Module, masks: Mapping[str, Tensor] | None = None, dtype: torch.dtype = torch.float32
) -> int:
    """Bytes of a model's numbers as a file would hold them: floats as `dtype`, integers as they are, ties once.

    A matrix with a mask needs one bit for each weight, to say whether it is there, and the weights that are. Raises
    CourseError when a mask names nothing in the model or has another shape.
    """
    state = dict(model.state_dict())
    for name, mask in (masks or {}).items():
        if name not in state or state[name].shape != mask.shape:
            raise CourseError(f"The mask of {name} fits no weights of this model: make the masks on it.")
    total, seen = 0, set()
    for name, value in state.items():
        place = (value.data_ptr(), tuple(value.shape))
        if place in seen:
            continue
        seen.add(place)
        size = dtype.itemsize if value.is_floating_point() else value.dtype.itemsize
        if masks and name in masks:
            total += int(masks[name].sum()) * size + (value.numel() + 7) // 8
        else:
            total += value.numel() * size
    return total


@torch.inference_mode()
def milliseconds(
    uses: Mapping[str, Callable[[], object]], texts: int, repeats: int = 7
) -> dict[str, list[float]]:
    """CPU milliseconds a text of each of `uses`, functions that read the same `texts` texts: `repeats` values each.

    One thread; each is run once before it counts; they take turns, in changing order, so that a slow moment of the
    machine hits all. Time of other programs does not count. Raises CourseError for less than one text or repeat.
    """
    if texts < 1 or repeats < 1:
        raise CourseError(f"{repeats} repeats over {texts} texts measure nothing: give at least one of each.")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {name: [] for name in uses}
    try:
        for use in uses.values():
            use()
        for repeat in range(repeats):
            for name in list(uses) if repeat % 2 else reversed(list(uses)):
                start = time.process_time()
                uses[name]()
                found[name].append(1000 * (time.process_time() - start) / texts)
    finally:
        torch.set_num_threads(threads)
    return found


def typical(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each list of times."""
    return {name: statistics.median(values) for name, values in times.items()}
