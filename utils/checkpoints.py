"""The course's own pretrained models: `checkpoints/NAME/` with config.json, model.safetensors, recipe.json.

Weights are kept as float16 and loaded as float32. Each load compares the weights with the SHA-256 of the
recipe and with the model that config.json describes. No pickle is ever executed: `read_pth` takes the tensors of files
of others and nothing else.
"""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.downloads import parse_json, read_json, read_text, sha256, write_text
from utils.errors import CourseError
from utils.longrun import replacing
from utils.settings import root

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

FOLDER = root() / "checkpoints"
LIMIT = 8_000_000  # bytes of one weights file
ROLES = {
    "pad": "pad_token",
    "unk": "unk_token",
    "mask": "mask_token",
    "cls": "cls_token",
    "sep": "sep_token",
    "bos": "bos_token",
    "s": "bos_token",
    "eos": "eos_token",
    "/s": "eos_token",
}  # what a special token such as [PAD] or </s> is for


def load_causal(folder: Path = FOLDER) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Return the causal Transformer of the course, in evaluation mode, and its tokenizer."""
    return _load_transformer("causal", folder), load_tokenizer(folder)


def load_masked(folder: Path = FOLDER) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Return the masked Transformer of the course, in evaluation mode, and its tokenizer."""
    return _load_transformer("masked", folder), load_tokenizer(folder)


def load_tokenizer(folder: Path = FOLDER) -> PreTrainedTokenizerFast:
    """Return the tokenizer that all models of the course share, with the roles of its special tokens set."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    path = folder / "tokenizer.json"
    try:
        text = read_text(path)
        values = parse_json(text)
        added, kind = values["added_tokens"], values["model"]
        vocabulary, merges = kind["vocab"], [str(pair) for pair in kind.get("merges", [])]
        if len(set(vocabulary.values())) < len(vocabulary) or len(set(merges)) < len(merges):
            raise ValueError("two tokens share an id, or a pair is merged twice")
        if any(vocabulary.get(t["content"]) != t["id"] for t in added) or len({*map(str, added)}) < len(
            added
        ):
            raise ValueError("an added token has no id of its own in the vocabulary, or stands there twice")
        if ("merges" in kind) != (kind["type"] == "BPE"):
            raise ValueError("pairs to merge belong to a BPE")
        if kind.get("continuing_subword_prefix"):  # tokenizers may abort where it cuts one off
            raise ValueError("it has a prefix of inner pieces, and no tokenizer of this course has one")
        special = [token["content"] for token in added if token["special"]]
        roles = {ROLES[t.strip("[]<>").lower()]: t for t in special if t.strip("[]<>").lower() in ROLES}
        return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(text), **roles)
    except Exception as error:  # tokenizers has no error class of its own
        raise CourseError(
            f"{path} is not a tokenizer ({_line(error)}): {_remedy('tokenizer.json')}."
        ) from None


def load_state(name: str, folder: Path = FOLDER) -> dict[str, Tensor]:
    """Return the weights of `name` by tensor name, as float32, after checking their SHA-256.

    Raises CourseError when a file is missing or the weights, or the tokenizer they were trained with, are not
    those of the recipe.
    """
    path = folder / name / "model.safetensors"
    expected = recipe(name, folder)
    for key, file in {"sha256": path, "tokenizer_sha256": folder / "tokenizer.json"}.items():
        if key not in expected:
            continue
        found = sha256(file) if file.is_file() else "no such file"
        if found != expected[key]:
            raise CourseError(
                f"{file} is not what {name}/recipe.json names, expected SHA-256 {str(expected[key])[:64]!r} and found "
                f"{found}: {_remedy(name)}."
            )
    state = read_safetensors(path, _remedy(name))
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def load_into(model: Module, name: str, folder: Path = FOLDER) -> None:
    """Load the weights of `name` into a model of the same shape (fastai's AWD-LSTM, for example).

    Raises CourseError naming the first tensor that is missing, left over, or of another shape.
    """
    fill(model, load_state(name, folder), str(folder / name / "model.safetensors"), _remedy(name))


def read_safetensors(path: Path, remedy: str) -> dict[str, Tensor]:
    """The tensors of a .safetensors file by name. Raises CourseError, with `remedy`, for a file that holds none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise CourseError(f"{path} cannot be read as weights ({_line(error)[:200]}): {remedy}.") from None


def read_pth(path: Path, remedy: str) -> dict[str, Any]:
    """The dict that `torch.save` wrote, if it is made of tensors, numbers and words; nothing of the file is executed.

    `remedy` says in errors what to do. Raises CourseError for any other file, and names what it asked to call.
    """
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch wonders about pickles that are not its own
            found = torch.load(path, map_location="cpu", weights_only=True)
        if zipfile.is_zipfile(path):  # torch itself does not compare the checksums
            with zipfile.ZipFile(path) as archive:
                if archive.testzip():
                    raise zipfile.BadZipFile
    except OSError as error:
        raise CourseError(f"{path} cannot be read ({error.strerror}): {remedy}.") from None
    except Exception as error:  # a damaged file can raise almost anything
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f"asks to call {named[1][:60]}" if named else "is damaged"
        raise CourseError(
            f"{path} {what}, and tensors were expected: nothing was executed, {remedy}."
        ) from None
    if not isinstance(found, dict):
        raise CourseError(f"{path} holds no named tensors: {remedy}.")
    return found


def recipe(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """Return how `name` was made: its recipe.json, with at least `sha256` and `bytes` of the weights."""
    path = folder / name / "recipe.json"
    values = _read_json(path, name)
    if not isinstance(values.get("sha256"), str) or not isinstance(values.get("bytes"), int):
        raise CourseError(f"{path} does not give 'sha256' and 'bytes' of the weights: {_remedy(name)}.")
    return values


def config(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """Return the shape of `name`: its config.json."""
    return _read_json(folder / name / "config.json", name)


def save(
    name: str,
    model: Module | dict[str, Tensor],
    config: PretrainedConfig | dict[str, Any],
    recipe: dict[str, Any],
    folder: Path = FOLDER,
) -> None:
    """Write `checkpoints/NAME/`: weights as float16, config, and recipe with SHA-256 and bytes added.

    `config` is the transformers config of `model`, or a dict for any other model. The same weights give the
    same bytes. Raises CourseError, before anything is written, when a weight is not finite as float16 or the
    file would be larger than 8 MB.
    """
    import torch
    from safetensors.torch import save as to_bytes

    state = model if isinstance(model, dict) else model.state_dict()
    tensors: dict[str, Tensor] = {}
    for key in _own_names(state):
        value = state[key].detach().cpu()
        tensors[key] = (value.half() if value.is_floating_point() else value).contiguous()
        if not torch.isfinite(tensors[key]).all():
            raise CourseError(
                f"Checkpoint {name}: {key} has values that float16 cannot hold, nothing was saved."
            )
    data = to_bytes(tensors, metadata={"format": "pt"})
    if len(data) > LIMIT:
        raise CourseError(
            f"Checkpoint {name} would have {len(data)} bytes, and at most {LIMIT} are allowed: make it "
            "smaller."
        )
    if not isinstance(config, dict):
        config = {**config.to_diff_dict(), "architectures": [type(model).__name__]}
    path = folder / name / "model.safetensors"
    with replacing(path) as part:
        part.write_bytes(data)
    recipe = {**recipe, "sha256": sha256(path), "bytes": len(data)}
    if (folder / "tokenizer.json").is_file():
        recipe["tokenizer_sha256"] = sha256(folder / "tokenizer.json")
    for file, values in (("config.json", config), ("recipe.json", recipe)):
        text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        write_text(folder / name / file, text + "\n")


def fill(model: Module, state: dict[str, Tensor], source: str, remedy: str) -> None:
    """Load `state` into `model`, tied weights included, or raise CourseError for the first tensor that does
    not fit: of another shape, of integers where weights belong, or with values that are not finite.

    `source` names the file of the weights and `remedy` what to do, both for the message.
    """
    own = model.state_dict()
    same = {key: own[key].data_ptr() for key in own}
    given = {same[key] for key in state if key in own}
    for key in sorted(own.keys() | state):
        want = tuple(own[key].shape) if key in own else None
        have = tuple(state[key].shape) if key in state else None
        if want == have or (have is None and same[key] in given):
            continue
        raise CourseError(
            f"{source} does not fit its model: tensor {key} is {_shape(have)} in the file and "
            f"{_shape(want)} in the model: {remedy}."
        )
    for key in state:
        kind = "integers" if own[key].is_floating_point() and not state[key].is_floating_point() else ""
        if kind or not state[key].isfinite().all():
            raise CourseError(
                f"{source} is damaged, tensor {key} holds {kind or 'values that are not finite'}: {remedy}."
            )
    model.load_state_dict(state, strict=False)


def _load_transformer(name: str, folder: Path) -> PreTrainedModel:
    import torch
    import transformers

    path = folder / name / "config.json"
    config = _read_json(path, name)
    kind = (config.get("architectures") or ["none"])[0]
    cls = getattr(transformers, str(kind), None)
    if cls is None or not hasattr(cls, "config_class"):
        raise CourseError(
            f"{path} names the architecture {kind!r}, which transformers has not: {_remedy(name)}."
        )
    with torch.random.fork_rng():  # leaves the caller's random numbers as they are
        try:
            # on a CPU and short texts the plain attention is twice as fast, and it can show its weights
            model = cls(cls.config_class.from_dict({**config, "attn_implementation": "eager"}))
        except Exception as error:  # whatever a config with other values makes transformers raise
            raise CourseError(f"{path} describes no {kind} ({_line(error)}): {_remedy(name)}.") from None
    load_into(model, name, folder)
    return model.eval()


def _own_names(state: dict[str, Tensor]) -> list[str]:
    """Return the names of a state without those that share the memory of an earlier one (tied weights)."""
    first: dict[tuple, str] = {}
    for key, value in state.items():
        first.setdefault((value.data_ptr(), tuple(value.shape)), key)
    return sorted(first.values())


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else f"of shape {list(shape)}"


def _remedy(name: str) -> str:
    return f"run `git checkout checkpoints/{name}`, or make it anew with `make checkpoints`"


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        values = read_json(path)
    except CourseError as error:
        raise CourseError(f"{path} cannot be used ({error}): {_remedy(name)}.") from None
    if not isinstance(values, dict):
        raise CourseError(f"{path} is not a JSON object: {_remedy(name)}.")
    return values
