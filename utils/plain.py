"""Plain data as text, for answers that cross from a student's process into the grader's.

Numbers, strings, bytes, lists, tuples, dicts, sets, numpy arrays and torch tensors go in and come out again as what
they were; subclasses come out as the plain kind. Nothing that arrives can run code, unlike pickle.
"""

import base64
import json
import re
import sys
from typing import Any

import numpy as np

from utils.errors import CourseError

ARRAYS = re.compile(r"[<>|=]?[biufU]\d+")  # dtypes: bool, integers, floats, text


class NotPlain(CourseError):
    """A value that plain data can't hold."""


def dumps(value: Any) -> str:
    """The value as one line of text.

    Raises:
        NotPlain: the value, or something in it, is no plain data; names its type.
    """
    try:
        return json.dumps(_packed(value))
    except RecursionError:
        raise NotPlain("data that contains itself") from None


def loads(text: str) -> Any:
    """The value that `dumps` wrote.

    Raises:
        NotPlain: the text is something else.
    """
    try:
        return _unpacked(json.loads(text))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise NotPlain(f"text that holds no plain data ({type(error).__name__})") from None


def _packed(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind) and not isinstance(value, np.generic):
            return kind(value)
    if isinstance(value, list):
        return [_packed(item) for item in value]
    for kind in (tuple, frozenset, set):
        if isinstance(value, kind):
            return {kind.__name__: [_packed(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[_packed(key), _packed(item)] for key, item in value.items()]}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        whole = value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
        return {"tensor": _array(whole.numpy())}
    if isinstance(value, np.ndarray | np.generic):
        return {"array": _array(np.asarray(value))}
    raise NotPlain(f"a value of type {type(value).__name__}")


def _array(array: np.ndarray) -> list[Any]:
    if not ARRAYS.fullmatch(array.dtype.str):
        raise NotPlain(f"an array of dtype {array.dtype}")
    return [array.dtype.str, list(array.shape), base64.b64encode(array.tobytes()).decode()]


def _unpacked(node: Any) -> Any:
    if isinstance(node, list):
        return [_unpacked(item) for item in node]
    if not isinstance(node, dict):
        return node
    ((kind, given),) = node.items()
    if kind == "dict":
        return {_unpacked(key): _unpacked(item) for key, item in given}
    if kind == "bytes":
        return base64.b64decode(given)
    if kind in ("array", "tensor"):
        dtype, shape, text = given
        if not ARRAYS.fullmatch(dtype):
            raise ValueError(dtype)
        array = np.frombuffer(base64.b64decode(text), dtype).reshape(shape).copy()
        if kind == "array":
            return array[()] if not shape else array
        import torch

        return torch.from_numpy(array)
    return {"tuple": tuple, "frozenset": frozenset, "set": set}[kind](_unpacked(item) for item in given)
