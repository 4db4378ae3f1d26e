"""Fewer attention heads and fewer weights: what each is worth, taking them away, and tuning what is left (lab 5).

A head is named by (layer, head), both from 0. A mask is a boolean tensor, True where something stays; masks of weights
are kept by parameter name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from utils.adaptation import SUBLAYERS, blocks
from utils.errors import CourseError
from utils.training import encode, pad

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from utils.classification import Classifier

Head = tuple[int, int]
Masks = dict[str, "Tensor"]
ROWS = 32  # texts in a batch


# Heads


def head_shape(model: Module) -> tuple[int, int]:
    """Layers and heads per layer of a GPT-2, ModernBERT or BERT; CourseError for any other model."""
    return len(blocks(model)), model.config.num_attention_heads


@contextmanager
def _gated(model: Module, gate_of: Callable[[int, int], Tensor]) -> Iterator[None]:
    """Multiply what each head says by a gate; `gate_of(layer, rows)` is [heads] or [rows, heads].

    The last map of the attention reads the heads side by side, so a hook in front of it is enough.
    """
    heads = model.config.num_attention_heads
    last = SUBLAYERS[model.config.model_type]["attention"][1]

    def hook(layer: int) -> Callable[[Module, tuple], tuple]:
        def gate(_: Module, args: tuple) -> tuple:
            states = args[0]  # [rows, width, heads * size]
            gates = gate_of(layer, len(states)).to(states.dtype)
            gates = gates.repeat_interleave(states.shape[-1] // heads, dim=-1)
            return (states * (gates if gates.ndim == 1 else gates[:, None]), *args[1:])

        return gate

    hooks = [
        block.get_submodule(last).register_forward_pre_hook(hook(i)) for i, block in enumerate(blocks(model))
    ]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


@contextmanager
def head_gates(model: Module, gates: Tensor) -> Iterator[None]:
    """Within this context the heads of `model` speak times `gates` [layers, heads]: 0 silences one, 1 changes nothing.

    Raises CourseError when the gates have another shape than the model's heads.
    """
    shape = head_shape(model)
    if tuple(gates.shape) != shape:
        raise CourseError(
            f"Gates of shape {list(gates.shape)} were given for a model of {shape[0]} layers of {shape[1]} heads: "
            f"give one gate for each head, {list(shape)}."
        )
    gates = gates.detach().float().to(next(model.parameters()).device)
    with _gated(model, lambda layer, rows: gates[layer]):
        yield


def head_importance(
    model: Module, losses: Iterable[Callable[[], Tensor]], gates: Tensor | None = None, by_layer: bool = True
) -> Tensor:
    """How much the loss depends on each head: [layers, heads], the mean over texts of |d loss / d gate|.

    Each callable runs `model` once, on one batch, and gives the losses of its texts [rows], in nats (Michel et al.
    2019: the size of the gradient is taken text by text, so that opposite texts do not cancel). `by_layer`
    divides the scores of a layer by their Euclidean length, as they do. `gates` [layers, heads] are those of heads
    already silenced; these get scores, too, and do not count in the length, which would make their neighbors look
    small. The gradients of the weights are left as they were.

    Raises CourseError when there is no batch and when a callable gives anything but losses of texts by `model`.
    """
    layers, heads = head_shape(model)
    total, texts = torch.zeros(layers, heads), 0
    given = torch.ones(layers, heads) if gates is None else gates.float()
    own: dict[int, Tensor] = {}
    device = next(model.parameters()).device

    def gate_of(layer: int, rows: int) -> Tensor:
        own[layer] = given[layer].to(device).repeat(rows, 1).requires_grad_()
        return own[layer]

    with _gated(model, gate_of):
        for loss in losses:
            own.clear()
            with torch.enable_grad():
                values = loss()
            if not (own and values.requires_grad):
                raise CourseError(
                    "The losses do not depend on this model's heads: compute them by the model given, with gradients."
                )
            if values.ndim != 1 or len(values) != len(own[0]):
                raise CourseError(
                    f"A batch of {len(own[0])} texts gave losses of shape {list(values.shape)}: give one loss per text."
                )
            slopes = torch.autograd.grad(
                values.sum(), [own[i] for i in range(layers)], materialize_grads=True
            )
            total += torch.stack([slope.float().abs().sum(0) for slope in slopes]).cpu()
            texts += len(values)
    if not texts:
        raise CourseError("The importance of heads needs at least one batch of texts.")
    total /= texts
    length = total.masked_fill(given == 0, 0).norm(dim=1, keepdim=True)
    return total / length.where(length > 0, 1.0) if by_layer else total


def classifier_losses(
    classifier: Classifier, texts: Sequence[str], labels: Sequence[int]
) -> Iterator[Callable[[], Tensor]]:
    """Losses of a classifier for `head_importance`: batches of 32 texts, cross-entropy in nats for each text.

    Raises CourseError when texts and labels differ in number.
    """
    if len(texts) != len(labels):
        raise CourseError(
            f"There are {len(texts)} texts and {len(labels)} labels: give one label for each text."
        )
    ids, padding = encode(classifier.tokenizer, texts), classifier.tokenizer.pad_token_id
    device = classifier.head.weight.device
    for start in range(0, len(ids), ROWS):
        some = ids[start : start + ROWS]
        batch = pad(some, max(map(len, some)), padding).to(device)
        targets = torch.tensor(labels[start : start + ROWS], device=device)
        yield lambda batch=batch, targets=targets: cross_entropy(classifier(batch), targets, reduction="none")


def pruning_order(importance: Tensor) -> list[Head]:
    """All heads, the least important first, by scores [layers, heads] (Michel et al. 2019 score once, then prune)."""
    order = importance.flatten().argsort(stable=True).tolist()
    return [divmod(i, importance.shape[1]) for i in order]


def random_order(shape: tuple[int, int], seed: int) -> list[Head]:
    """All heads of a model of (layers, heads) in random order, the control of `pruning_order`."""
    order = np.random.default_rng(seed).permutation(shape[0] * shape[1]).tolist()
    return [divmod(i, shape[1]) for i in order]


def rescored_order(score: Callable[[Tensor], Tensor], shape: tuple[int, int]) -> list[Head]:
    """All heads in greedy order: after each removal, `score(gates)` gives the importance of all heads anew."""
    gates, order = torch.ones(shape), []
    while len(order) < gates.numel():
        scores = score(gates).masked_fill(gates == 0, float("inf"))
        order.append(divmod(int(scores.argmin()), shape[1]))
        gates[order[-1]] = 0
    return order


def without(heads: Sequence[Head], shape: tuple[int, int]) -> Tensor:
    """Gates [layers, heads] that silence `heads`; CourseError for a head that a model of that shape has not."""
    gates = torch.ones(shape)
    for layer, head in heads:
        if not (0 <= layer < shape[0] and 0 <= head < shape[1]):
            raise CourseError(
                f"There is no head {head} in layer {layer}: the model has layers 0 to {shape[0] - 1} of heads 0 to "
                f"{shape[1] - 1}."
            )
        gates[layer, head] = 0
    return gates


def pruned_scores(
    measure: Callable[[], float], model: Module, order: Sequence[Head], counts: Sequence[int]
) -> list[float]:
    """What `measure` gives with the first `count` heads of `order` silenced, for each of `counts`."""
    found = []
    for count in counts:
        if not 0 <= count <= len(order):
            raise CourseError(f"{count} heads were to be silenced, and the order names {len(order)}.")
        with head_gates(model, without(order[:count], head_shape(model))):
            found.append(measure())
    return found


# Weights


def layer_weights(module: Module) -> list[str]:
    """Names of the weight matrices inside the layers of a Transformer: no embeddings, norms, biases, or new head."""
    encoder = getattr(module, "encoder", module) if not hasattr(module, "config") else module
    own = {id(p) for block in blocks(encoder) for p in block.parameters() if p.ndim == 2}
    return [name for name, parameter in module.named_parameters() if id(parameter) in own]


def magnitude_masks(module: Module, sparsity: float, masks: Mapping[str, Tensor] | None = None) -> Masks:
    """Masks that take away the share `sparsity` of the weights in the matrices of the layers, those next to zero.

    All matrices compete (see `layer_weights`). What `masks` have taken away before stays away and counts: a larger
    `sparsity` with the masks of a smaller one prunes step by step.

    Raises CourseError for a sparsity outside 0 to 1 and for one below that of `masks`.
    """
    if not 0 <= sparsity < 1:
        raise CourseError(f"A sparsity of {sparsity} was asked for: give a share from 0 to below 1.")
    parameters = dict(module.named_parameters())
    sizes = {}
    for name in layer_weights(module):
        gone = ~masks[name] if masks else torch.zeros_like(parameters[name], dtype=torch.bool)
        sizes[name] = parameters[name].detach().float().abs().masked_fill(gone, -1.0)
    values = torch.cat([size.flatten() for size in sizes.values()])
    drop = round(sparsity * len(values))
    if int((values < 0).sum()) > drop:
        raise CourseError(
            f"The masks given leave out {int((values < 0).sum())} of {len(values)} weights, more than the sparsity "
            f"{sparsity}: ask for a higher one."
        )
    limit = values.kthvalue(drop).values if drop else values.new_tensor(-torch.inf)
    stays = values > limit
    equal = (values == limit).nonzero()[:, 0]  # of these the first ones go
    stays[equal[drop - int((values < limit).sum()) :]] = True
    parts = stays.split([size.numel() for size in sizes.values()])
    return {name: part.view_as(sizes[name]) for name, part in zip(sizes, parts, strict=True)}


def random_masks(masks: Mapping[str, Tensor], seed: int) -> Masks:
    """Masks that keep as many weights of each matrix as `masks` do, at random places: the control of a ticket."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: mask.flatten()[torch.randperm(mask.numel(), generator=generator).to(mask.device)].view_as(mask)
        for name, mask in masks.items()
    }


def sparsity(masks: Mapping[str, Tensor]) -> float:
    """The share of weights that the masks take away."""
    return 1 - sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())


@torch.no_grad()
def apply_masks(module: Module, masks: Mapping[str, Tensor]) -> None:
    """Set the weights that the masks take away to zero, in place; CourseError where a mask does not fit."""
    parameters = dict(module.named_parameters())
    for name, mask in masks.items():
        if name not in parameters or parameters[name].shape != mask.shape:
            found = list(parameters[name].shape) if name in parameters else "missing"
            raise CourseError(
                f"The mask of {name} has the shape {list(mask.shape)}, and the parameter is {found}: make the masks on "
                "a model of the same shape."
            )
        parameters[name].mul_(mask.to(parameters[name].device))


@contextmanager
def kept_masks(module: Module, masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Within this context weights that the masks take away are zero and stay zero, whatever trains the module.

    Their gradients are zero, too, so that they add nothing to a clipped norm and an optimizer with weight decay leaves
    them alone (torch.nn.utils.prune would rename the parameters).
    """
    apply_masks(module, masks)
    parameters = dict(module.named_parameters())
    hooks = [
        parameters[name].register_hook(lambda slope, mask=mask: slope * mask.to(slope.device))
        for name, mask in masks.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def rewind(module: Module, start: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Put back the weights of `start` (a state_dict) and take away what the masks say: a lottery ticket.

    Frankle & Carbin (2019) go back to the first weights, Chen et al. (2020) to the pretrained ones. Raises CourseError
    when `start` belongs to another model.
    """
    own = module.state_dict()
    for name in sorted(own.keys() | start.keys()):
        if name not in own or name not in start or own[name].shape != start[name].shape:
            raise CourseError(
                f"The weights to go back to do not fit: {name} is missing or of another shape; keep a copy of the "
                "module's own state_dict before training."
            )
    module.load_state_dict(start)
    apply_masks(module, masks)


# Overlap


def overlap(a: Tensor | Mapping[str, Tensor], b: Tensor | Mapping[str, Tensor]) -> float:
    """Jaccard overlap of what two masks keep: size of the intersection over size of the union, from 0 to 1.

    Takes masks [layers, heads] or masks by parameter name; raises CourseError when they do not cover the same things.
    """
    first, second = _flat(a), _flat(b)
    if first.keys() != second.keys() or any(first[n].shape != second[n].shape for n in first):
        raise CourseError(
            "Two masks of different parameters or shapes have no overlap: make both on one model."
        )
    both = sum(int((first[n] & second[n]).sum()) for n in first)
    either = sum(int((first[n] | second[n]).sum()) for n in first)
    return both / either if either else 1.0


def chance_overlap(kept_a: int, kept_b: int, total: int) -> float:
    """The mean Jaccard overlap of two random choices of `kept_a` and `kept_b` of `total` things."""
    from scipy.stats import hypergeom

    if not (0 <= kept_a <= total and 0 <= kept_b <= total and kept_a + kept_b > 0):
        raise CourseError(
            f"{kept_a} and {kept_b} of {total} things cannot be kept: give counts up to {total}."
        )
    both = np.arange(max(0, kept_a + kept_b - total), min(kept_a, kept_b) + 1)
    return float((hypergeom.pmf(both, total, kept_a, kept_b) * both / (kept_a + kept_b - both)).sum())


def _flat(mask: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
    named = {"": mask} if isinstance(mask, torch.Tensor) else mask
    return {name: value.bool() for name, value in named.items()}
