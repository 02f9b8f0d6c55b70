"""A model's initial weights as a page of TOML: read, checked as a whole, and turned into recipes."""

from __future__ import annotations

import codecs
import fnmatch
import os
import re
import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..arrays import DTYPES, check_shape, dtype_name
from ..recipe import Recipe
from .composing import NOWHERE, Composer, alike, is_composed, unlike
from .header import check_tensor_name
from .keys import Defaults, Keys, ManifestError
from .literal_file import read_literals
from .names import Family, Names, inserted, numbers_of
from .opening import read_file_or_pipe
from .reading import open_checkpoint
from .template import Template

_TOP = ("seed", "dtype", "in_axis", "out_axis", "literals", "tensors", "shapes_from", "rules")
_TENSOR = ("name", "shape", "init", "seed", "dtype", "drawn_as")
_RULE = ("match", "init", "seed", "dtype", "skip")

#: Bytes of a manifest.
LONGEST = 100_000_000
#: A key of a hundred parts: TOML's reader takes time and memory by their square. The `+` more are for no way back.
_DEEP_KEY = re.compile(r"""(?<![\w.-])(?>(?>[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){100}""", re.ASCII)
#: Dtypes of tensors whose values may become any of ours; all others hold integers, or what is no number.
_FLOATS = re.compile(r"F\d.*|BF16|[<>]f\d+")


def load_manifest(path: str | os.PathLike[str], *, seed: int | None = None, dtype: Any = None) -> dict[str, Recipe]:
    """Read a manifest: every tensor of a model with its recipe, under its name.

    Parameters
    ----------
    path : path
        A TOML file.
    seed, dtype : optional
        Stand for those at the top of the manifest. A table's own stay.

    Returns
    -------
    dict of str to Recipe
        In the order of the manifest, or of the file that `shapes_from` names.

    Raises
    ------
    ManifestError
        Every mistake at once, with file, table and the nearest known word.
    OSError
        The file cannot be read.

    Notes
    -----
    At the top stand `seed` (needed), `dtype` (float32 unless given), and, for all initializers that have them,
    `in_axis` and `out_axis`. Then either or both of

    ``[[tensors]]``
        `name`, `shape`, `init`, the initializer's own parameters, and `seed` and `dtype` where they differ. In a name
        ``{0..21}`` stands for each integer, ends included, ``{00..21}`` for each with two digits, and ``{q,k,v}`` for
        each word. A range may have a name, ``{layer:0..21}``. Instead of `shape` and `init` there may be
        ``concatenate = [...]`` with `axis` and `groups`, ``stack = [...]`` with `axis`, ``transpose = {...}`` with
        `axes`, or ``paste = {...}`` with ``onto = {...}`` and `at`: tables of the same keys, each a part that keeps its
        own name, seed and fan. ``{layer}`` in a part's name inserts the number of a range around it, and a part's own
        braces expand in place. ``reshape = {...}`` with `shape`, ``part = {...}`` with `at` and ``literal = "..."``,
        the name of a tensor in the file of literals, are there for `dump_manifest`. `drawn_as` is the name that the
        values are drawn by, where it is not `name`; ``again = true`` in a part allows for random numbers that another
        part has too.
    ``literals = { file = "...", sha256 = "..." }``
        At the top: the .safetensors beside the manifest that has the values of literals, and its hash. A file of
        another hash is refused.
    ``shapes_from = "model.safetensors"`` and ``[[rules]]``
        Names, shapes and dtypes come from the header of that file, or of a folder or index in Hugging Face's layout;
        a path is relative to the manifest. Each tensor follows the first rule whose glob `match` fits its name:
        `init` with its parameters, `seed` and `dtype`, or ``skip = true``, which leaves the tensor out. The dtype is
        that of the rule, else that at the top of the manifest, else the file's; integers need one of the rule's.
        Rules that scale by a fan must say `in_axis` and `out_axis`, here or at the top: a torch weight read with the
        default axes would get the wrong fan.

    A number among an initializer's parameters may be a text that computes it, ``"0.02 / sqrt(2 * (layer + 1))"``, of
    numbers, ``+ - * /``, ``**`` with an integer exponent, parentheses, ``sqrt``, ``min``, ``max``, ``shape[k]``,
    ``fan_in``, ``fan_out``, and the named ranges of the table's name. It is computed in float64 and has the same value
    on every machine.

    Seeds may be decimal strings, and infinities "inf" and "-inf", as in `Recipe.to_dict`.
    """
    path, dtype = Path(path), None if dtype is None else dtype_name(dtype)
    try:
        return Manifest(path, tomllib.loads(_text(path)), seed, dtype).recipes()
    except RecursionError:
        raise ManifestError([f"{path}: nested too deeply"]) from None
    except ManifestError:
        raise
    except ValueError as error:  # integers of thousands of digits too
        raise ManifestError([f"{path}: no TOML: {error}"]) from None


def _text(path: Path) -> str:
    """What is in the file, without the mark that some editors put before UTF-8."""
    try:
        text = read_file_or_pipe(path, LONGEST)
    except ValueError as error:
        raise ManifestError([f"{path}: {error}"]) from None
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in text[:4]:
        raise ManifestError([f"{path}: it is UTF-16 or UTF-32, and TOML is UTF-8: save it as that"])
    try:
        decoded = text.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise ManifestError([f"{path}: not UTF-8: {error.reason} at byte {error.start}"]) from None
    if _DEEP_KEY.search(decoded):
        raise RecursionError
    return decoded


class Manifest:
    """The tables of a manifest on their way to recipes, and the mistakes found so far.

    Parameters
    ----------
    path : Path
        Where it is, for messages and for the files that it names.
    top : dict
        What its TOML says.
    seed, dtype
        In place of those at the top.
    literals : mapping of str to Recipe, optional
        In place of those of the file that it names.
    """

    def __init__(
        self,
        path: Path,
        top: dict[str, Any],
        seed: int | None = None,
        dtype: str | None = None,
        literals: Mapping[str, Recipe] | None = None,
    ) -> None:
        self._path = path
        self._top = top | ({} if seed is None else {"seed": seed}) | ({} if dtype is None else {"dtype": dtype})
        self._keys = Keys(path)
        self._recipes: dict[str, Recipe] = {}
        self._names = Names()
        self._composer = Composer(self._keys, self._names)
        self._composer.literals = literals
        self._table_of: dict[str, str] = {}

    def recipes(self) -> dict[str, Recipe]:
        top = self._top
        self._keys.check("at the top", top, _TOP)
        if "seed" not in top:
            self._keys.note("at the top", "seed is missing: without it nobody could make the same weights again")
        self._defaults = self._keys.defaults("at the top", top, Defaults(0, None, {}))
        if "literals" in top and self._composer.literals is None:
            try:
                self._composer.literals = read_literals(self._path.parent, top["literals"])
            except (OSError, ValueError) as error:
                self._keys.note("at the top", f"literals: {error}")
                self._composer.literals = {}
        for number, table in enumerate(self._tables("tensors"), start=1):
            self._add_tensor(number, table)
        if "shapes_from" in top:
            self._add_from_file(top["shapes_from"])
        elif "rules" in top:
            self._keys.note("at the top", "rules need shapes_from, the file whose tensors they are for")
        elif "tensors" not in top:
            self._keys.note("at the top", "there are no tensors: neither [[tensors]] nor shapes_from")
        self._check_parts()
        if not self._recipes and not self._keys.mistakes:
            self._keys.note("at the top", "there are no tensors")
        if self._keys.mistakes:
            raise ManifestError(self._keys.mistakes)
        return self._recipes

    # ---- tables ----------------------------------------------------------------------------------------------

    def _add_tensor(self, number: int, table: dict[str, Any]) -> None:
        where = f"[[tensors]] {number}" + (f" ({table['name']!r})" if isinstance(table.get("name"), str) else "")
        family = self._family(where, table)
        names = self._keys.attempt(where, lambda: [check_tensor_name(n) for n in family.names()]) if family else None
        if is_composed(table):
            composed = self._composer.read(where, table, NOWHERE.within(family) if family else NOWHERE, self._defaults)
            if family is None or names is None or composed is None:
                return
            for name, words in zip(names, family.words()):
                if not self._add(where, name, self._composer.make(composed, words)):
                    break  # the others have the same mistake
            return
        shape = self._keys.attempt(where, lambda: check_shape(table["shape"])) if "shape" in table else None
        if "shape" not in table:
            self._keys.note(where, "shape is missing")
        defaults = self._defaults
        seed = self._keys.seed(where, table, defaults.seed)
        dtype = self._keys.dtype(where, table, defaults.dtype or "float32")
        template = self._keys.template(where, table, _TENSOR, defaults.axes, family.ranges if family else None)
        drawn_as = table.get("drawn_as")
        if drawn_as is not None and not isinstance(drawn_as, str):
            self._keys.note(where, f"drawn_as must be the name of a tensor, not {drawn_as!r}")
            return
        if family is None or names is None or shape is None or template is None or None in (seed, dtype):
            return
        for name, words in zip(names, family.words()):
            which = f"{where}: {name}" if template.asks and len(names) > 1 else where
            drawn = name if drawn_as is None else self._keys.attempt(where, partial(inserted, drawn_as, words))
            if drawn is None:
                break
            recipe = self._keys.recipe(which, drawn, template, shape, numbers_of(words), seed, dtype)
            if not self._add(where, name, recipe):
                break

    def _add_from_file(self, source: Any) -> None:
        rules = [self._rule(number, table) for number, table in enumerate(self._tables("rules"), start=1)]
        if not isinstance(source, str):
            self._keys.note("at the top", f"shapes_from must be the path of a file, not {source!r}")
            return
        try:
            tensors = open_checkpoint(self._path.parent / os.path.expanduser(source)).tensors
        except (OSError, ValueError, ImportError) as error:
            self._keys.note("at the top", f"shapes_from: {error}")
            return
        for name, stored in tensors.items():
            rule = next((rule for rule in rules if rule.matches(name)), None)
            if rule is None:
                self._keys.note("[[rules]]", f"no rule matches tensor {name!r} of shape {list(stored.shape)}")
            elif not rule.skip and rule.template is not None:
                dtype = rule.dtype or self._defaults.dtype or stored.dtype
                where = f"{rule.where}: {name}"
                floats = stored.dtype in DTYPES or _FLOATS.fullmatch(stored.dtype) is not None
                if rule.dtype is None and not floats:  # a buffer of integers, say
                    self._keys.note(where, f"it has dtype {stored.dtype}: give the rule a dtype, or skip = true")
                elif dtype not in DTYPES:  # 8 bits, say
                    self._keys.note(where, f"it has dtype {dtype}: give a dtype here or at the top, or skip = true")
                else:
                    recipe = self._keys.recipe(where, name, rule.template, stored.shape, {}, rule.seed, dtype)
                    self._add(where, name, recipe)

    def _rule(self, number: int, table: dict[str, Any]) -> _Rule:
        match = table.get("match")
        where = f"[[rules]] {number}" + (f" ({match!r})" if isinstance(match, str) else "")
        if not isinstance(match, str):
            self._keys.note(where, "match is missing" if match is None else f"match must be a glob, not {match!r}")
            match = ""
        skip = table.get("skip", False)
        if not isinstance(skip, bool):
            self._keys.note(where, f"skip must be true or false, not {skip!r}")
        if skip:
            self._keys.check(where, table, ("match", "skip"))
            return _Rule(where, match, None, None, None, True)
        template = self._keys.template(
            where, table, _RULE, self._defaults.axes, (), "; a rule has no ranges: its names come from a file"
        )
        if template is not None:
            stated = {*self._defaults.axes, *table}
            unstated = [f"{key}=" for key in template.axes_that_matter() if key not in stated]
            if unstated:
                self._keys.note(
                    where,
                    f"{template.name} depends on the axes: say {' and '.join(unstated)} here "
                    "or at the top (a torch weight: in_axis = 1, out_axis = 0)",
                )
                template = None
        seed, dtype = self._keys.seed(where, table, self._defaults.seed), self._keys.dtype(where, table, None)
        return _Rule(where, match, template, seed, dtype, False)

    def _add(self, where: str, name: str, recipe: Recipe | None) -> bool:
        if recipe is None:
            return False
        if name in self._table_of:
            self._keys.note(where, f"tensor {name!r} is there already, by {self._table_of[name]}")
            return False
        self._recipes[name], self._table_of[name] = recipe, where
        return True

    def _check_parts(self) -> None:
        """Notes parts that have seed and name of a tensor that is not the same."""
        for (seed, name), (part, where) in self._composer.drawn.items():
            tensor = self._recipes.get(name)
            if tensor is not None and (tensor.seed, tensor.name) == (seed, name) and not alike(tensor, part):
                self._keys.note(where, unlike(name, self._table_of[name]))

    # ---- keys ------------------------------------------------------------------------------------------------

    def _family(self, where: str, table: dict[str, Any]) -> Family | None:
        if not isinstance(table.get("name"), str):
            self._keys.note(
                where, "name is missing" if "name" not in table else f"name must be text, not {table['name']!r}"
            )
            return None
        return None if self._names.too_many else self._keys.attempt(where, lambda: self._names.family(table["name"]))

    def _tables(self, key: str) -> list[dict[str, Any]]:
        tables = self._top.get(key, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self._keys.note("at the top", f"{key} must be tables, each under [[{key}]]")
            return []
        return tables


class _Rule:
    """Which tensors, and what fills them; `template` is None after a mistake, or where they are skipped."""

    def __init__(
        self, where: str, match: str, template: Template | None, seed: int | None, dtype: str | None, skip: bool
    ) -> None:
        self.where = where
        self.template, self.seed, self.dtype, self.skip = template, seed, dtype, skip
        self._pattern = re.compile(fnmatch.translate(match))

    def matches(self, name: str) -> bool:
        return self._pattern.match(name) is not None
