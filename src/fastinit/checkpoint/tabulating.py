"""Families of tensors to the tables of a manifest, with everything left out that the tables around them say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from ..initializers import known_parameters, to_json
from ..initializers.parameters import REQUIRED
from ..initializers.scales import counted_axes
from ..outline import form_of
from .describing import Dict, Family, is_drawn, leaves_of
from .ranges import Table, folded_parts

#: The keys of a recipe's dict that are not its initializer's parameters.
_OWN = ("name", "seed", "shape", "dtype", "init", "again")


class Outer(NamedTuple):
    """What the tables around one say."""

    seed: Any
    dtype: str
    axes: Mapping[str, Any]


def top_of(dicts: Iterable[Dict]) -> Table:
    """What stands at the top of the manifest: the seed, dtype and axes that most tensors have."""
    seeds: Counter[Any] = Counter()
    dtypes: Counter[str] = Counter()
    axes: Counter[tuple[int, int] | None] = Counter()
    for d in dicts:
        for leaf in leaves_of(d):
            dtypes[leaf["dtype"]] += 1
            if "init" in leaf:
                seeds[leaf["seed"]] += 1
            if "fan_in" in leaf:
                axes[_unlike_default(leaf)] += 1
    top: Table = {"seed": seeds.most_common(1)[0][0] if seeds else 0, "dtype": dtypes.most_common(1)[0][0]}
    if axes and (most := axes.most_common(1)[0][0]) is not None:
        top["in_axis"], top["out_axis"] = most
    return top


def _unlike_default(leaf: Dict) -> tuple[int, int] | None:
    """in_axis and out_axis of an initializer, where each is one axis and they are not what they would be unsaid."""
    naxes, (in_axis, out_axis) = len(leaf["shape"]), (leaf["in_axis"], leaf["out_axis"])
    if len(in_axis) != 1 or len(out_axis) != 1 or (*in_axis, *out_axis) == (naxes - 2, naxes - 1):
        return None
    return in_axis[0], out_axis[0]


def table_of(family: Family, top: Table) -> Table:
    """The table of a family in [[tensors]]."""
    outer = Outer(top["seed"], top["dtype"], {key: top[key] for key in ("in_axis", "out_axis") if key in top})
    table: Table = {"name": family.name}
    spec = family.spec
    if form_of(spec) == "init":
        if spec["name"] is not None:
            table["drawn_as"] = family.written(spec["name"])
        return table | _single(spec, outer)
    table |= _composed(family, spec, outer)
    _say_again(table, family.words)
    return table


def _part(family: Family, spec: Dict, outer: Outer) -> Table:
    if form_of(spec) != "init":
        return _composed(family, spec, outer)
    return {"name": family.written(spec["name"])} | _single(spec, outer)


def _composed(family: Family, spec: Dict, outer: Outer) -> Table:
    table: Table = {}
    form = form_of(spec)
    if form == "literal":
        return {form: family.written(spec[form]), "shape": spec["shape"]}
    leaves = list(leaves_of(spec))
    seeds, (dtype,) = {leaf["seed"] for leaf in leaves if "init" in leaf}, {leaf["dtype"] for leaf in leaves}
    if len(seeds) == 1 and (seed := next(iter(seeds))) != outer.seed:
        table["seed"], outer = seed, outer._replace(seed=seed)
    if dtype != outer.dtype:
        table["dtype"], outer = dtype, outer._replace(dtype=dtype)
    for key, default in (("axis", 0), ("groups", 1)):
        if spec.get(key, default) != default:
            table[key] = spec[key]
    if isinstance(spec[form], list):
        table[form] = folded_parts([_part(family, part, outer) for part in spec[form]], family.words)
    else:
        table[form] = _part(family, spec[form], outer)
    if form == "paste":
        table["onto"] = _part(family, spec["onto"], outer)
    if form in ("paste", "part"):
        table["at"] = _at(spec["at"], _shape(spec["onto" if form == "paste" else "part"]))
    if form == "reshape":
        table["shape"] = spec["shape"]
    if form == "transpose" and spec["axes"] != list(range(len(spec["axes"])))[::-1]:
        table["axes"] = spec["axes"]
    return table


def _single(spec: Dict, outer: Outer) -> Table:
    """What fills a tensor, without what would be so unsaid."""
    table: Table = {"shape": spec["shape"]}
    if spec["dtype"] != outer.dtype:
        table["dtype"] = spec["dtype"]
    if spec["seed"] != outer.seed:
        table["seed"] = spec["seed"]
    table["init"] = spec["init"]
    _, defaults = known_parameters(spec["init"])
    unsaid = {key: value for key, value in defaults.items() if value is not REQUIRED}
    unsaid |= {key: (axis,) for key, axis in outer.axes.items() if key in defaults}
    unsaid = {key: to_json(value) for key, value in counted_axes(tuple(spec["shape"]), unsaid).items()}
    for key, value in spec.items():
        if key not in _OWN and not (key in unsaid and json.dumps(unsaid[key]) == json.dumps(value)):
            table[key] = value[0] if isinstance(value, list) and len(value) == 1 else value
    if "again" in spec:
        table["again"] = True
    return table


def _at(at: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """The entries of `at` as a manifest has them: without those of whole axes in the end."""
    entries: list[Any] = []
    for entry, n in zip(at, shape):
        if isinstance(entry, int):
            entries.append(entry)
        else:
            start, stop, step = entry
            stop = stop if stop >= 0 else -n - 1  # downwards to the beginning
            entries.append([start, stop] if step == 1 else [start, stop, step])
    while entries and entries[-1] == [0, shape[len(entries) - 1]]:
        entries.pop()
    return entries


def _shape(d: Dict) -> tuple[int, ...]:
    """The shape of the tensor that a dict describes."""
    form = form_of(d)
    if form == "paste":
        return _shape(d["onto"])
    if form == "transpose":
        inner = _shape(d[form])
        return tuple(inner[axis] for axis in d["axes"])
    if form == "part":
        return tuple(len(range(*entry)) for entry in d["at"] if not isinstance(entry, int))
    if form in ("concatenate", "stack"):
        axis, inner = d["axis"], _shape(d[form][0])
        if form == "stack":
            return (*inner[:axis], len(d[form]), *inner[axis:])
        return (*inner[:axis], sum(_shape(part)[axis] for part in d[form]), *inner[axis + 1 :])
    return tuple(d["shape"])


def _say_again(table: Table, words: Collection[str]) -> None:
    """Parts whose names lack a range around them have the same values for all its numbers, and say that it is meant."""
    for inner in table.values():
        for part in inner if isinstance(inner, list) else [inner]:
            if not isinstance(part, dict):
                continue
            if "init" not in part:
                _say_again(part, [*words, *_own_words(part)])
            elif is_drawn(part) and not all(f"{{{word}}}" in part["name"] for word in words):
                part["again"] = True


def _own_words(part: Table) -> list[str]:
    """The range that the name of a composed part is."""
    name = part.get("name", "")
    return [name[1 : name.index(":")]] if name else []
