"""Dicts to kinds: the inverse of `Kind.described`, for dicts that anybody may have written."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from .. import plan
from ..arrays import check_shape, dtype_name
from ..initializers.names import init
from ..stream import check_name, seed_from_text
from ..wording import near_match, nearest
from . import KINDS
from .composed import DEEPEST, MOST, Cut, Pasted
from .kind import Kind
from .literal import literal_of_text
from .making import concatenated, reshaped, stacked, transposed


def kind_of_dict(d: Any) -> Kind:
    """The kind that `described` described.

    ValueError for what describes none, in time and memory that do not depend on how deep or how long the dict is: it
    is read to a depth of `DEEPEST` and to `MOST` tensors.
    """
    return _Reader().kind(d, 1)


class _Reader:
    """Reads one dict, and counts the tensors in it."""

    def __init__(self) -> None:
        self.count = 0

    def kind(self, d: Any, depth: int) -> Kind:
        self.count += 1
        if depth > DEEPEST:
            raise ValueError(f"composed tensors are nested at most {DEEPEST} deep")
        self._check_count(self.count)
        if not isinstance(d, Mapping):
            raise ValueError(f"a tensor is described by a dict, not {type(d).__name__}")
        forms = [key for key in _FORMS if key in d]
        if len(forms) > 1:
            raise ValueError(f"a tensor's dict has one of {' and '.join(map(repr, forms))}, not both")
        if not forms:
            return _named(dict(d))
        (key,) = forms
        read, needed = _FORMS[key]
        rest = {k: v for k, v in d.items() if k != key}
        _check_keys(key, rest, needed)
        return read(self, d[key], rest, depth)

    def kinds(self, listed: Any, what: str, depth: int) -> list[Kind]:
        if not isinstance(listed, (list, tuple)) or not listed:
            raise ValueError(f"{what} needs a list of tensors that is not empty, got {short(listed)}")
        self._check_count(self.count + len(listed))
        return [self.kind(d, depth + 1) for d in listed]

    def _check_count(self, count: int) -> None:
        if count > MOST:
            raise ValueError(f"a composed tensor is made of at most {MOST} tensors")

    def concatenate(self, listed: Any, rest: dict[str, Any], depth: int) -> Kind:
        axis, groups = (_integer(rest.get(key, default), key) for key, default in (("axis", 0), ("groups", 1)))
        return concatenated(self.kinds(listed, "concatenate", depth), axis, groups)

    def stack(self, listed: Any, rest: dict[str, Any], depth: int) -> Kind:
        return stacked(self.kinds(listed, "stack", depth), _integer(rest.get("axis", 0), "axis"))

    def transpose(self, d: Any, rest: dict[str, Any], depth: int) -> Kind:
        return transposed(self.kind(d, depth + 1), [_integer(axis, "axes") for axis in _list(rest["axes"], "axes")])

    def reshape(self, d: Any, rest: dict[str, Any], depth: int) -> Kind:
        return reshaped(self.kind(d, depth + 1), _shape(rest["shape"]))

    def paste(self, d: Any, rest: dict[str, Any], depth: int) -> Kind:
        onto = self.kind(rest["onto"], depth + 1)
        return Pasted(onto, _region(onto.shape, rest["at"]), self.kind(d, depth + 1))

    def part(self, d: Any, rest: dict[str, Any], depth: int) -> Kind:
        whole = self.kind(d, depth + 1)
        return Cut(whole, _region(whole.shape, rest["at"]))

    def hashed(self, text: Any, rest: dict[str, Any], depth: int) -> Kind:
        raise ValueError(
            "this tensor has a long literal, of which the file's metadata has only the SHA-256: it cannot be made from "
            "the dict; its values are in the file itself"
        )

    def literal(self, text: Any, rest: dict[str, Any], depth: int) -> Kind:
        return literal_of_text(text, _dtype(rest["dtype"]), _shape(rest["shape"]))


#: How each form is read, and which keys it has besides, with those that may be left out in the end.
_FORMS: dict[str, tuple[Callable[[_Reader, Any, dict[str, Any], int], Kind], tuple[str, ...]]] = {
    "concatenate": (_Reader.concatenate, ("axis?", "groups?")),
    "stack": (_Reader.stack, ("axis?",)),
    "transpose": (_Reader.transpose, ("axes",)),
    "reshape": (_Reader.reshape, ("shape",)),
    "paste": (_Reader.paste, ("onto", "at")),
    "part": (_Reader.part, ("at",)),
    "literal": (_Reader.literal, ("dtype", "shape")),
    "literal_sha256": (_Reader.hashed, ("dtype", "shape")),
}


def _check_keys(form: str, rest: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        if not key.endswith("?") and key not in rest:
            raise ValueError(f"the dict of a {form} needs {key!r}")
    known = [key.rstrip("?") for key in keys]
    for key in rest:
        if key not in known:
            raise ValueError(f"the dict of a {form} has no key {short(key)}; {near_match(str(key)[:80], known)}")


def _named(rest: dict[str, Any]) -> Kind:
    try:
        name, seed, shape, dtype, initializer = (rest.pop(key) for key in ("name", "seed", "shape", "dtype", "init"))
    except KeyError as error:
        keys = [key for key in rest if isinstance(key, str) and len(key) < 80][:100]
        for key in keys:
            if key not in ("name", "seed", "shape", "dtype") and (form := nearest(key, _FORMS)) is not None:
                raise ValueError(f"a tensor's dict has no key {key!r}; did you mean {form!r}?") from None
        close = nearest(error.args[0], keys)
        hint = f"; is {close!r} meant?" if close is not None else ""
        raise ValueError(f"a recipe's dict needs {error.args[0]!r}{hint}") from None
    if not isinstance(shape, (list, tuple)):
        raise ValueError(f"shape must be a list, got {short(shape)}")
    for key, value in {"dtype": dtype, "init": initializer, "seed": seed, "shape": shape, **rest}.items():
        _check_plain(key, value)
    try:
        given = init(initializer, **rest)
        return KINDS[given.name](given, check_shape(shape), dtype_name(dtype), seed_from_text(seed), check_name(name))
    except TypeError as error:
        raise ValueError(str(error)) from None


def _check_plain(key: Any, value: Any) -> None:
    """ValueError for what is too long or too deep for a parameter, and so for the message that would show it."""
    listed = value if isinstance(value, (list, tuple)) else [value]
    if len(listed) > 64 or any(
        isinstance(item, (Mapping, list, tuple, set)) or (isinstance(item, (str, bytes)) and len(item) > 200)
        for item in listed
    ):
        raise ValueError(f"{short(key)} cannot be {short(value)}")


def _dtype(dtype: Any) -> str:
    try:
        return dtype_name(dtype)
    except TypeError as error:
        raise ValueError(str(error)) from None


def _shape(shape: Any) -> tuple[int, ...]:
    return check_shape(tuple(_integer(n, "shape") for n in _list(shape, "shape")))


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{what} must be a list, got {short(value)}")
    if len(value) > 64:
        raise ValueError(f"{what} has at most 64 entries, got {len(value)}")
    return list(value)


def _integer(value: Any, what: str) -> int:
    if type(value) is not int or abs(value) >= 1 << 63:
        raise ValueError(f"{what} must be made of integers, got {short(value)}")
    return value


def _region(shape: tuple[int, ...], at: Any) -> plan.Region:
    """The region that `described` wrote as `at`."""
    entries = _list(at, "at")
    if len(entries) != len(shape):
        raise ValueError(f"at needs an entry for each of the {len(shape)} axes, got {len(entries)}")
    ranges: list[range] = []
    for entry, n in zip(entries, shape):
        if isinstance(entry, (list, tuple)):
            if len(entry) != 3 or 0 in entry[2:]:
                raise ValueError(f"an entry of at is an integer or [start, stop, step], got {short(entry)}")
            along = range(*(_integer(number, "at") for number in entry))
            if along and not (0 <= along[0] < n and 0 <= along[-1] < n):
                raise ValueError(f"at {short(entry)} is not within an axis of {n}")
            if len(along) < 2:  # one position, one description
                along = range(along.start, along.start + 1) if along else range(0)
        else:
            position = _integer(entry, "at")
            if not 0 <= position < n:
                raise ValueError(f"at {position} is not within an axis of {n}")
            along = range(position, position + 1)
        ranges.append(along)
    axes = tuple(axis for axis, entry in enumerate(entries) if isinstance(entry, (list, tuple)))
    return plan.Region(tuple(ranges), axes)


def short(value: Any) -> str:
    """A few characters of what may be nested without end."""
    return reprlib.repr(value)
