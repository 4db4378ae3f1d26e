"""Which weights learn, how fast, and what holds them back: the parts of adaptation (lab 3, and the labs after it).

Parameters are named by glob patterns of their full names, such as "head.*" or "encoder.h.3.*".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import torch

from utils.errors import CourseError
from utils.training import rate_at

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module, Parameter

# First and last linear map of each sub-layer, by the model type of its transformers config.
SUBLAYERS = {
    "gpt2": {"attention": ("attn.c_attn", "attn.c_proj"), "mlp": ("mlp.c_fc", "mlp.c_proj")},
    "modernbert": {"attention": ("attn.Wqkv", "attn.Wo"), "mlp": ("mlp.Wi", "mlp.Wo")},
    "bert": {
        "attention": ("attention.self.query", "attention.output.dense"),
        "mlp": ("intermediate.dense", "output.dense"),
    },
}


# Which weights


def matching(module: Module, pattern: str) -> dict[str, Parameter]:
    """The parameters whose name matches a glob pattern; CourseError when there is none."""
    found = {name: p for name, p in module.named_parameters() if fnmatchcase(name, pattern)}
    if not found:
        some = ", ".join(name for name, _ in list(module.named_parameters())[:3])
        raise CourseError(f"No parameter has a name like {pattern!r}: the names begin with {some}, ...")
    return found


def train_only(module: Module, *patterns: str) -> int:
    """Freeze all parameters but those that match one of `patterns`; returns how many numbers are left to train."""
    chosen = {name for pattern in patterns for name in matching(module, pattern)}
    for name, parameter in module.named_parameters():
        parameter.requires_grad = name in chosen
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def rate_groups(module: Module, scales: Mapping[str, float]) -> list[dict]:
    """Parameter groups for an optimizer: each parameter in the group of the first pattern that it matches.

    `scales` maps patterns to multiples of the learning rate, kept in each group as "scale". Frozen parameters are
    listed, too, so that they can be thawed on the way: an optimizer leaves alone what has no gradient. Raises
    CourseError for a pattern without parameters and for a parameter that is to be trained and has no pattern.
    """
    groups: list[dict] = []
    taken: set[str] = set()
    for pattern, scale in scales.items():
        own = {name: p for name, p in matching(module, pattern).items() if name not in taken}
        taken |= own.keys()
        if own:
            groups.append({"params": list(own.values()), "scale": scale})
    left = [name for name, p in module.named_parameters() if p.requires_grad and name not in taken]
    if left:
        raise CourseError(
            f"{left[0]} is to be trained and matches no pattern of {list(scales)}: add one for it."
        )
    return groups


def layer_patterns(module: Module) -> list[list[str]]:
    """Patterns of the parameters of a classifier on a Transformer, from top to bottom.

    First the new head, then each layer from the last to the first (the last with the final norm), then the embeddings.
    Raises CourseError when the module has no `encoder` with a list of layers.
    """
    encoder = getattr(module, "encoder", None)
    count = getattr(getattr(encoder, "config", None), "num_hidden_layers", None)
    lists = [
        name for name, m in module.named_modules() if isinstance(m, torch.nn.ModuleList) and len(m) == count
    ]
    if not lists:
        raise CourseError(f"{type(module).__name__} has no encoder with a list of layers: give a Classifier.")
    layers = [[f"{lists[0]}.{i}.*"] for i in reversed(range(len(module.get_submodule(lists[0]))))]
    top, bottom = {}, {}  # parameters of the encoder outside its layers, by the module that holds them
    for name, _ in module.named_parameters():
        if name.startswith("encoder.") and not name.startswith(lists[0] + "."):
            embedding = any(part in name for part in ("embed", "wte", "wpe"))
            (bottom if embedding else top)[name] = None
    layers[0] += top
    return [["head.*"], *layers, list(bottom)]


# How fast: factors of the peak rate at a step


def constant(step: int, steps: int) -> float:
    """The same rate at every step."""
    return 1.0


def linear_warmup(step: int, steps: int, share: float = 0.1) -> float:
    """A linear rise over the first `share` of the steps, then a linear fall to zero (Devlin et al. 2019)."""
    return rate_at(step, steps, 1.0, max(1, int(steps * share)))


def slanted_triangular(step: int, steps: int, share: float = 0.1, ratio: float = 32) -> float:
    """ULMFiT's rate (Howard & Ruder 2018, equation 3): a short rise, a long fall, never under 1 / `ratio`."""
    cut = max(1, int(steps * share))
    p = step / cut if step < cut else 1 - (step - cut) / max(1, steps - cut)
    return (1 + p * (ratio - 1)) / ratio


def adamw(groups: list[dict], rate: float, correct_bias: bool = True) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) over parameter groups, with or without Adam's correction of its first averages.

    BERT's published code left the correction out (`correct_bias` False): the first steps are then several times as
    long as the rate says, one reason why some runs fail (Mosbach et al. 2021; Zhang et al. 2021). Adam's averages are
    too small by the factors 1 - beta^step; without the correction the count of steps begins where both are 1.
    """
    optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=0.01, fused=True)
    if not correct_bias:
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            optimizer.state[parameter] = {
                "step": torch.tensor(1e6, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
    return optimizer


# New parts


class Bottleneck(torch.nn.Module):
    """An adapter's map, down to `width`, GELU, and up again; zero at first, so that nothing changes before training."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        if width < 1:
            raise CourseError(f"An adapter of width {width} was asked for, and the least is 1.")
        self.down, self.up = torch.nn.Linear(size, width), torch.nn.Linear(width, size)
        torch.nn.init.zeros_(self.up.weight)
        torch.nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] -> [..., size]."""
        return self.up(torch.nn.functional.gelu(self.down(x)))


class Adapted(torch.nn.Module):
    """The last linear map of a sub-layer with an adapter after it (serial), or beside the sub-layer (parallel)."""

    def __init__(self, last: Module, adapter: Bottleneck, first: Module | None = None) -> None:
        super().__init__()
        self.last, self.adapter, self.parallel = last, adapter, first is not None
        self._input: Tensor | None = None  # what the sub-layer read, from its first map to its last one
        if first is not None:
            first.register_forward_pre_hook(self._keep)

    def _keep(self, _: Module, args: tuple) -> None:
        self._input = args[0]

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., size]."""
        out, read = self.last(x), self._input
        self._input = None
        return out + self.adapter(read if self.parallel else out)


def add_adapters(
    model: Module, width: int, places: Sequence[str] = ("attention", "mlp"), parallel: bool = False
) -> None:
    """Put adapters into every layer of a Transformer, before the sub-layer's output is added to its input.

    Serial ones read the sub-layer's output (Houlsby et al. 2019), parallel ones its input (He et al. 2022). Their
    parameters are called "...adapter...".
    """
    kind = SUBLAYERS.get(model.config.model_type)
    if kind is None or not set(places) <= kind.keys():
        raise CourseError(
            f"Adapters go to {' or '.join(SUBLAYERS['bert'])} of a {', '.join(SUBLAYERS)} model, not to "
            f"{list(places)} of {model.config.model_type}."
        )
    size = model.config.hidden_size
    for block in blocks(model):
        for place in places:
            first, last = kind[place]
            adapter = Bottleneck(size, width).to(model.device)
            adapted = Adapted(
                block.get_submodule(last), adapter, block.get_submodule(first) if parallel else None
            )
            parent, _, name = last.rpartition(".")
            setattr(block.get_submodule(parent), name, adapted)


def blocks(model: Module) -> list[Module]:
    """The layers of a Transformer, from bottom to top; CourseError for a model type that `SUBLAYERS` lacks."""
    kind = SUBLAYERS.get(getattr(getattr(model, "config", None), "model_type", None))
    if kind is None:
        raise CourseError(
            f"{type(model).__name__} is none of the Transformers known here: give a {', '.join(SUBLAYERS)} model."
        )
    return [m for m in model.modules() if all(_has(m, path) for pair in kind.values() for path in pair)]


def _has(module: Module, path: str) -> bool:
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True


# What holds weights back


class Anchor:
    """A penalty on leaving the weights where they are now: strength / 2 * sum of importance * (weight - start)^2.

    With importance 1 it is L2 towards the start (L2-SP, Li et al. 2018); with the Fisher information of the old task it
    is elastic weight consolidation (Kirkpatrick et al. 2017).
    """

    def __init__(
        self, module: Module, strength: float, importance: Mapping[str, Tensor] | None = None
    ) -> None:
        self.strength = strength
        held = {n: p for n, p in module.named_parameters() if importance is None or n in importance}
        self.terms = [
            (p, p.detach().clone(), torch.ones_like(p) if importance is None else importance[n])
            for n, p in held.items()
        ]
        if not self.terms:
            raise CourseError("No parameter of the model has an importance: compute it on the same model.")

    def __call__(self) -> Tensor:
        """The penalty, a scalar."""
        return self.strength / 2 * sum((weight * (p - start) ** 2).sum() for p, start, weight in self.terms)


def fisher(module: Module, log_likelihoods: Iterable[Callable[[], Tensor]]) -> dict[str, Tensor]:
    """The diagonal of the Fisher information by parameter name: the mean squared gradient of log p(y | x).

    Each callable gives log p of ONE item, its label drawn from the model itself; labels of the data would give the
    empirical Fisher, another thing (Kunstner et al. 2019).
    """
    total: dict[str, Tensor] = {n: torch.zeros_like(p) for n, p in module.named_parameters()}
    count = 0
    for log_likelihood in log_likelihoods:
        module.zero_grad()
        log_likelihood().backward()
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                total[name] += parameter.grad**2
        count += 1
    module.zero_grad()
    if not count:
        raise CourseError("The Fisher information needs at least one item.")
    return {name: value / count for name, value in total.items()}
