"""Damage to the content of files, drawn from a seed: what a loader gets to read when things have gone wrong.

Each function takes a `random.Random` and the content, and returns the damaged content and whether a loader has to read
it as before (the order of JSON's keys, say, means nothing). A function draws all that it does from its `random`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

Damage = Callable[[Random, bytes], tuple[bytes, bool]]

CHARACTERS = "\x00 \t\n\r\"',;:|[]{}()<>#=-+.0179_aé\x0b\x0c\x1c\x85\xa0\u0661\u2028\ufeff\uff11🙂"
CELLS = (
    "", " ", "_", "-1", "0", "00", "1", "2", "7", "+1", "1.0", "1_0", "1e5", "1e999", "nan", "inf",
    "\u0661", "\uff10", "True", "9"*20, "9"*5000, "1-2", "2-1", "1.1", "1-"+"9"*5000, "O", "B-",
    "B-a\tb", "I-x", "root", "X", "A=b", "A=b|A=c", "#", '"', '""', 'a"b', '"a', "a,b", "a;b", "a|b||c",
    "[", "]", "[]", "[he]", "<eos>", "correct", "wrong", "your persona: ", "\x85", "\u2028", "\x00",
    "é", "e\u0301", "<br />", "<div>", "=1+1", "- - -", "&a", "*a", "!!python/object:os.system", "'",
)  # fmt: skip


# ---- bytes


def damage_bytes(random: Random, data: bytes) -> tuple[bytes, bool]:
    """A file that was cut, overwritten, mixed up or encoded anew."""
    size = len(data)
    a = random.randrange(size + 1)
    b = min(size, a + random.choice((1, 1, 2, 4, 16, 64, size)))
    c = random.randrange(size + 1)
    kind = random.randrange(16)
    if kind == 0 and size:  # one bit
        at = min(a, size - 1)
        return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :], False
    changed = {
        1: lambda: data[:a] + random.randbytes(b - a) + data[b:],
        2: lambda: data[:a] + data[b:],
        3: lambda: data[:a] + random.randbytes(random.randint(1, 8)) + data[a:],
        4: lambda: data[:a],
        5: lambda: data[:b] + data[a:b] + data[b:],
        6: lambda: data[:c] + data[a:b] + data[c:],
        7: lambda: data[:a] + bytes(b - a) + data[b:],
        8: lambda: (
            data[:a] + random.choice((b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f", b"\xe9")) + data[a:]
        ),
        9: lambda: data + random.choice((data, b"\x00", bytes(64), b"\n", b"}", b"x")),
        10: lambda: data[:a] + b"9" * random.choice((1, 3, 10, 20, 5000)) + data[a:],
        11: lambda: data[a:],
        12: lambda: data[b:] + data[:b],
        13: lambda: random.choice((b"", b"\n", b" \n\n", b"\x00", data.hex().encode())),
    }
    return changed.get(kind, lambda: data[:a] + random.choice(CHARACTERS).encode() + data[a:])(), False


def damage_text(random: Random, data: bytes) -> tuple[bytes, bool]:
    """Characters, whole lines, line ends, encodings."""
    text = data.decode("utf-8", "surrogateescape")
    lines = text.split("\n")
    i, j = random.randrange(len(lines)), random.randrange(len(lines))
    a = random.randrange(len(text) + 1)
    kind = random.randrange(13)
    if kind == 0:
        return b"\xef\xbb\xbf" + data, not data.startswith(b"\xef\xbb\xbf") and b"\r" not in data
    if kind == 1:
        return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), b"\r" not in data
    if kind == 2:
        return data.replace(b"\n", b"\r"), False
    if kind == 3:
        return text.encode("utf-16", "surrogatepass"), False
    if kind == 4:
        return text.encode("latin-1", "replace"), text.isascii() and "\r" not in text
    if kind == 5:
        del lines[i]
    elif kind == 6:
        lines.insert(j, lines[i])
    elif kind == 7:
        lines[i], lines[j] = lines[j], lines[i]
    elif kind == 8:
        lines.insert(i, random.choice(("", " ", "\t", "#", "# a = b", "\x0c", "x")))
    elif kind == 9:
        lines[i] = lines[i] + random.choice((" ", "\t", "\t\t", ",", ";", '"', "\r", "\u2028"))
    elif kind == 10:
        lines = lines[:i]
    else:
        new = random.choice(CHARACTERS) * random.choice((1, 1, 2))
        lines = (text[:a] + new + text[a + kind - 11 :]).split("\n")
    return "\n".join(lines).encode("utf-8", "surrogateescape"), False


# ---- JSON


class Pairs(list):
    """A JSON object as a list of its members, which may share a key."""


class Raw(str):
    """Text that stands in JSON as it is."""


VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 0.5, 1e300, "", " ", "x", "\ud800", "\x00", "a\nb", "1", "NaN", [],
    {}, [[]], [None], [1], ["x"], {"x": 1}, 10**30, Raw("NaN"), Raw("Infinity"), Raw("-Infinity"),
    Raw("1e999"), Raw("9"*5000), Raw("-0"), Raw("1.0"), Raw("01"), Raw("tru"), Raw(""), Raw("'x'"),
    Raw("[1,]"), Raw('"\\ud800"'), Raw('"\\x"'), Raw("/**/1"),
)  # fmt: skip


def tree(text: str) -> Any:
    """JSON with every object as Pairs."""
    return json.loads(text, object_pairs_hook=Pairs)


def written(node: Any, ascii_only: bool = False) -> str:
    """JSON of a tree; objects may be dicts or Pairs."""
    if isinstance(node, Raw):
        return str(node)
    if isinstance(node, dict):
        node = Pairs(node.items())
    if isinstance(node, Pairs):
        return "{" + ", ".join(f"{json.dumps(k)}: {written(v, ascii_only)}" for k, v in node) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(written(each, ascii_only) for each in node) + "]"
    return json.dumps(node, ensure_ascii=ascii_only)


def damage_json(random: Random, data: bytes) -> tuple[bytes, bool]:
    """Keys, values, types, offsets, order and depth of one file of JSON, or of one of its lines where each is JSON."""
    try:
        text = data.decode()
        lines = text.split("\n")
        at = random.choice([i for i, line in enumerate(lines) if line.strip()] or [0])
        try:
            found, one = tree(lines[at]), len(lines) > 1
        except ValueError:
            found, one = tree(text), False
        found, same = _damaged_tree(random, found)
        new = written(found, random.random() < 0.5)
    except (ValueError, RecursionError):  # damaged before
        return damage_bytes(random, data)
    if one:
        new = "\n".join([*lines[:at], new, *lines[at + 1 :]])
    return new.encode("utf-8", "surrogatepass"), same and "\r" not in text


def _places(node: Any, path: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    children = (
        [each[1] for each in node] if isinstance(node, Pairs) else node if isinstance(node, list) else []
    )
    return [path, *(place for i, child in enumerate(children) for place in _places(child, (*path, i)))]


def _damaged_tree(random: Random, root: Any) -> tuple[Any, bool]:
    path = random.choice(_places(root))
    node = root
    for i in path:
        node = node[i][1] if isinstance(node, Pairs) else node[i]

    def replace(new: Any) -> Any:
        parent, top = root, not path
        for i in path[:-1]:
            parent = parent[i][1] if isinstance(parent, Pairs) else parent[i]
        if not top:
            parent[path[-1]] = (parent[path[-1]][0], new) if isinstance(parent, Pairs) else new
        return new if top else root

    kind = random.randrange(12)
    if kind <= 2:
        return replace(random.choice(VALUES)), False
    if kind == 3:
        deep = random.choice((3, 50, 400, 900, 970, 990, 1500, 100_000))
        return replace(
            Raw("[" * deep + "]" * deep) if random.random() < 0.7 else Raw('{"a":' * deep + "1" + "}" * deep)
        ), False
    if kind == 4:
        return replace([node]), False
    if isinstance(node, Pairs) and node:
        i = random.randrange(len(node))
        if kind == 5:
            del node[i]
        elif kind == 6:
            node.insert(random.randrange(len(node) + 1), (node[i][0], random.choice((*VALUES, node[i][1]))))
        elif kind == 7:
            node[i] = (
                random.choice((node[i][0] + "s", node[i][0].upper(), "", " " + node[i][0])),
                node[i][1],
            )
        else:
            random.shuffle(node)
            return root, True
        return root, False
    if isinstance(node, list) and node:
        i = random.randrange(len(node))
        if kind in (5, 6):
            del node[i]
        elif kind in (7, 8):
            node.insert(random.randrange(len(node) + 1), node[i])
        elif kind == 9:
            random.shuffle(node)
        else:
            node[i] = random.choice(VALUES)
        return root, False
    if isinstance(node, bool) or not isinstance(node, int | float | str):
        return replace(random.choice(VALUES)), False
    if isinstance(node, str):
        a = random.randrange(len(node) + 1)
        return replace(node[:a] + random.choice((*CHARACTERS, "")) + node[a + random.randrange(2) :]), False
    return replace(
        random.choice((node + 1, node - 1, -node, node * 1000, float(node), str(node), node + 0.5))
    ), False


# ---- tables


def damage_cells(separator: str) -> Damage:
    """Columns and cells of a file with rows, cells divided by `separator`."""

    def damage(random: Random, data: bytes) -> tuple[bytes, bool]:
        rows = [line.split(separator) for line in data.decode("utf-8", "surrogateescape").split("\n")]
        some = [row for row in rows if len(row) > 1] or rows
        row, other = random.choice(some), random.choice(some)
        i, j = random.randrange(len(row)), random.randrange(len(row))
        kind = random.randrange(10)
        if kind <= 3:
            row[i] = random.choice(CELLS)
        elif kind == 4:
            row[i] = random.choice(other)
        elif kind == 5:
            row[i] = f'"{row[i]}' if random.random() < 0.5 else f'{row[i]}"'
        elif kind == 6:
            del row[i]
        elif kind == 7:
            row.insert(i, random.choice((*CELLS, row[j])))
        elif kind == 8:
            row[i], row[j] = row[j], row[i]
        else:
            move = random.choice(("drop", "double", "swap"))
            for each in some:
                if len(each) > max(i, j):
                    if move == "drop":
                        del each[i]
                    elif move == "double":
                        each.insert(j, each[i])
                    else:
                        each[i], each[j] = each[j], each[i]
        return "\n".join(separator.join(row) for row in rows).encode("utf-8", "surrogateescape"), False

    return damage


# ---- safetensors


def damage_safetensors(random: Random, data: bytes) -> tuple[bytes, bool]:
    """The length of the header, and dtypes, shapes, offsets and names in it."""
    if len(data) < 8:
        return damage_bytes(random, data)
    (size,) = struct.unpack("<Q", data[:8])
    try:
        header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
        tensors = [name for name in header if name != "__metadata__"]
        entry, other = header[random.choice(tensors)], header[random.choice(tensors)]
        begin, end = entry["data_offsets"]
        _ = end - begin
        length, _, _ = entry["shape"][0], other["shape"], other["data_offsets"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # damaged before
        return damage_bytes(random, data)
    kind = random.randrange(10)
    if kind == 0:
        size = random.choice((0, 1, size - 1, size + 1, len(data), 2**31, 2**63, 2**64 - 1))
        return struct.pack("<Q", size) + data[8:], False
    if kind == 1:
        return _safetensors(damage_json(random, json.dumps(header).encode())[0], body), False
    if kind == 2:
        entry["dtype"] = random.choice(
            ("F32", "F16", "BF16", "F64", "I32", "U32", "I64", "BOOL", "F8_E4M3", "F4", "X", "f32")
        )
    elif kind == 3:
        entry["shape"] = random.choice(
            (
                entry["shape"][::-1],
                [length, *entry["shape"]],
                [],
                [2**62, 4],
                [-1],
                [length * 2],
                other["shape"],
            )
        )
    elif kind == 4:
        entry["data_offsets"] = random.choice(
            (
                [begin, end - 4],
                [begin + 4, end],
                [end, begin],
                [0, end],
                [begin, 2**40],
                [-4, end],
                other["data_offsets"],
            )
        )
    elif kind == 5:
        entry["data_offsets"], other["data_offsets"] = other["data_offsets"], entry["data_offsets"]
    elif kind == 6:
        name = random.choice(tensors)
        header[name + random.choice(("x", ".bias", " "))] = header.pop(name)
    elif kind == 7:
        del header[random.choice(tensors)]
    elif kind == 8:
        at = random.randrange(len(body) + 1)
        body = random.choice(
            (body[:at], body + bytes(4), body[:at] + b"\x00\x00\xc0\x7f" + body[at + 4 :], body[::-1])
        )
    else:  # the same tensors, named in another order
        random.shuffle(tensors)
        return _safetensors(json.dumps({name: header[name] for name in tensors}).encode(), body), True
    return _safetensors(json.dumps(header).encode(), body), False


def _safetensors(header: bytes, body: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + body


# ---- tensors by name


def damage_tensors(random: Random, tensors: dict[str, Any]) -> dict[str, Any]:
    """Arrays of numpy by name with other values, shapes, types or names; the arrays that are given stay as they are."""
    import numpy as np

    found = dict(tensors)
    name, other = random.choice(sorted(found)), random.choice(sorted(found))
    array, kind = found[name], random.randrange(9)
    if kind <= 1:
        array = found[name] = array.copy()
        array.flat[random.randrange(array.size)] = random.choice((np.nan, np.inf, -np.inf, 1e4, 0.0))
    elif kind == 2:
        found[name] = array.reshape(
            random.choice(((-1,), (1, *array.shape), array.shape[::-1], (array.size, 1)))
        )
    elif kind == 3:
        found[name] = np.concatenate([array, array[:1]])
    elif kind == 4:
        found[name] = array.astype(
            random.choice((np.int32, np.int64, np.float16, np.float64, np.bool_, np.uint8))
        )
    elif kind == 5:
        del found[name]
    elif kind == 6:
        found[name + random.choice(("x", "/Adam", ".bias", "/kernel"))] = array
    elif kind == 7:
        found[name], found[other] = found[other], found[name]
    else:
        found[random.choice(("global_step", "other/kernel"))] = np.ones(3, np.float32)
    return found
