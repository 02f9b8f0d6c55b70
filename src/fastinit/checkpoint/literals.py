"""Long literals in a file's own metadata: their hash stands there, since the values are in the file as the tensor's.

What is hashed are the literal's values that the tensor has, in the literal's order: all of them, unless it is a part
of another tensor or something is pasted onto it. To find them in a tensor that is on disk, the tensor is made again
with marks in the place of the literals' values, and zeros in the place of all others.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..arrays import numpy_dtype
from ..kinds.composed import DEEPEST
from ..pieces import pieces
from ..recipe import Part, Recipe

#: The key of a literal's hash, in the place of "literal".
KEY = "literal_sha256"
#: A literal of at most this many bytes is in the metadata itself.
LONGEST = 4096
#: Bytes of a tensor that are looked through at once.
PIECE = 1 << 20
#: Literals of more bytes than this are read back only if the file on the disk is that large.
LARGEST = 1 << 28

#: Keys of dicts, or of lists of dicts, of the tensors that one is made of.
_INNER = ("concatenate", "stack", "transpose", "reshape", "paste", "onto", "part")
#: Keys of tensors of which the whole may leave out some elements.
_HIDING = ("onto", "part")

Leaf = Callable[[Mapping[str, Any], bool], Mapping[str, Any]]


def metadata_of(part: Part) -> dict[str, Any]:
    """`Part.to_dict`, with hashes in the place of long literals."""
    described = part.to_dict()
    if "init" in described:
        return described
    numbers = _Numbers(described)
    seen: np.ndarray | None = None

    def leaf(d: Mapping[str, Any], hidden: bool) -> Mapping[str, Any]:
        nonlocal seen
        if not _is_long(d):
            return d
        values, start = _values(d), numbers.take(d)
        if hidden:
            if seen is None:
                seen = _seen(described, part.shape)
            values = values[seen[start : start + len(values)]]
        return {KEY: _hash(values), "dtype": d["dtype"], "shape": d["shape"]}

    return dict(_mapped(described, leaf))


class Hashed:
    """A tensor described with hashes in the place of literals: it can be compared, and not be made.

    Attributes
    ----------
    outline : Recipe
        The tensor, but zeros for the values that only a hash speaks of.
    """

    def __init__(self, described: Mapping[str, Any]) -> None:
        self._described = described
        self.outline = Recipe.from_dict(_mapped(described, lambda d, hidden: _zeros(d) if KEY in d else d))

    def recovered(self, stored: Any, held: int) -> tuple[Recipe, str]:
        """The recipe whose literals have the values that are on disk; and what is wrong with those, if anything.

        `stored` is an array of the outline's shape and dtype; the disk has `held` bytes for it, or for its file.
        """
        nbytes = 0
        for d in _long_literals(self._described):
            nbytes += math.prod(d["shape"]) * numpy_dtype(d["dtype"]).itemsize
        if nbytes > max(LARGEST, held):
            return self.outline, f"its literals have {nbytes:,} bytes, which the disk does not hold"
        values, seen = _read_back(self._described, self.outline, stored)
        numbers = _Numbers(self._described)
        problems: list[str] = []

        def leaf(d: Mapping[str, Any], hidden: bool) -> Mapping[str, Any]:
            if KEY not in d:
                return d
            start = numbers.take(d)
            own = slice(start, start + math.prod(d["shape"]))
            if _hash(values[own][seen[own]]) != d[KEY]:
                problems.append(
                    f"the values of its literal of shape {tuple(d['shape'])} are not those that were written (by their "
                    "SHA-256; how far they have moved only their recipe could tell)"
                )
            return _literal(values[own], d)

        recipe = Recipe.from_dict(_mapped(self._described, leaf))
        return recipe, problems[0] if problems else ""


def has_hashes(described: Mapping[str, Any]) -> bool:
    """Whether the description has the hash of a literal in the place of its values."""
    return "init" not in described and any(KEY in d for d in _leaves(described))


# ---- trees of dicts ----------------------------------------------------------------------------------------


def _mapped(d: Mapping[str, Any], leaf: Leaf, hidden: bool = False, depth: int = 1) -> Mapping[str, Any]:
    """The same tree with other leaves; `leaf` is told whether some elements of a leaf may not be in the whole."""
    if depth > DEEPEST:
        raise ValueError(f"composed tensors are nested at most {DEEPEST} deep")
    inner = [key for key in _INNER if key in d]
    if not inner:
        return {**leaf(d, hidden), **({"stream": d["stream"]} if "stream" in d else {})}
    made = dict(d)
    for key in inner:
        below = hidden or key in _HIDING

        def mapped(value: Any, below: bool = below) -> Any:
            return _mapped(value, leaf, below, depth + 1) if isinstance(value, Mapping) else value

        made[key] = [mapped(value) for value in d[key]] if isinstance(d[key], list) else mapped(d[key])
    return made


def _leaves(d: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []

    def leaf(d: Mapping[str, Any], hidden: bool) -> Mapping[str, Any]:
        found.append(d)
        return d

    _mapped(d, leaf)
    return found


def _is_long(d: Mapping[str, Any]) -> bool:
    text = d.get("literal")
    return KEY in d or (isinstance(text, str) and len(text) > (LONGEST + 2) // 3 * 4)


def _long_literals(d: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (leaf for leaf in _leaves(d) if _is_long(leaf))


def _zeros(d: Mapping[str, Any]) -> dict[str, Any]:
    return {"init": "zeros", "shape": d.get("shape"), "dtype": d.get("dtype"), "seed": 0, "name": ""}


def _literal(bits: np.ndarray, d: Mapping[str, Any]) -> dict[str, Any]:
    return {"literal": base64.b64encode(bits.tobytes()).decode(), "dtype": d["dtype"], "shape": d["shape"]}


def _values(d: Mapping[str, Any]) -> np.ndarray:
    """The bits of a literal's values, little-endian."""
    return np.frombuffer(base64.b64decode(d["literal"]), f"<u{numpy_dtype(d['dtype']).itemsize}")


def _hash(values: np.ndarray) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()


# ---- which elements are a literal's ------------------------------------------------------------------------


class _Numbers:
    """Numbers for the values of all long literals of a tree, in its order."""

    def __init__(self, described: Mapping[str, Any]) -> None:
        self.count = sum(math.prod(d["shape"]) for d in _long_literals(described))
        self._next = 0

    def take(self, d: Mapping[str, Any]) -> int:
        """The first number of the next one's values."""
        start = self._next
        self._next += math.prod(d["shape"])
        return start


class _Found(NamedTuple):
    """Where in a piece the literals' values are, and their numbers."""

    where: np.ndarray
    numbers: np.ndarray


class _Marks:
    """A tensor whose elements tell which literal's value belongs there: digits, 0 where none does.

    An element has few bits, so that there may have to be several such tensors, one for each digit of the numbers.
    """

    def __init__(self, described: Mapping[str, Any], itemsize: int) -> None:
        self._base = (1 << 8 * itemsize) - 1
        self._itemsize = itemsize
        self._digits = []
        unit = 1
        count = _Numbers(described).count
        while unit == 1 or unit < count:
            self._digits.append((unit, self._marked(described, unit)))
            unit *= self._base

    def _marked(self, described: Mapping[str, Any], unit: int) -> Recipe:
        numbers = _Numbers(described)

        def leaf(d: Mapping[str, Any], hidden: bool) -> Mapping[str, Any]:
            if not _is_long(d):
                return _zeros(d)
            start = numbers.take(d)
            own = np.arange(start, start + math.prod(d["shape"]), dtype=np.uint64)
            digits = own // np.uint64(unit) % np.uint64(self._base) + np.uint64(1)
            return _literal(digits.astype(f"<u{self._itemsize}"), d)

        return Recipe.from_dict(_mapped(described, leaf))

    def at(self, index: Any) -> _Found:
        """Those of a region."""
        where, numbers = np.empty(0, np.intp), np.empty(0, np.int64)
        for unit, marked in self._digits:
            digits = marked[index].view(f"u{self._itemsize}").ravel()
            if unit == 1:
                where = np.flatnonzero(digits)
                numbers = np.zeros(len(where), np.int64)
            numbers += (digits[where].astype(np.int64) - 1) * unit
        return _Found(where, numbers)


def _seen(described: Mapping[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    """Which of the literals' values are in the tensor, by their numbers."""
    outline = Recipe.from_dict(_mapped(described, lambda d, hidden: _zeros(d)))
    marks = _Marks(described, outline.dtype.itemsize)
    seen = np.zeros(_Numbers(described).count, bool)
    for piece in pieces(shape, PIECE // outline.dtype.itemsize):
        seen[marks.at(piece.at).numbers] = True
    return seen


def _read_back(described: Mapping[str, Any], outline: Recipe, stored: Any) -> tuple[np.ndarray, np.ndarray]:
    """The bits of the literals' values as they are in a tensor on disk, by their numbers; and which are in it."""
    itemsize = outline.dtype.itemsize
    marks, count = _Marks(described, itemsize), _Numbers(described).count
    values, seen = np.zeros(count, f"<u{itemsize}"), np.zeros(count, bool)
    for piece in pieces(outline.shape, PIECE // itemsize):
        found = marks.at(piece.at)
        if len(found.where):
            held = np.ascontiguousarray(stored[piece.at])
            order = "<" if held.dtype.byteorder in "<=|" else ">"
            values[found.numbers] = held.view(f"{order}u{itemsize}").ravel()[found.where]
            seen[found.numbers] = True
    return values, seen
