"""dump_manifest: recipes to a page of TOML that reads back as the same recipes."""

from __future__ import annotations

import hashlib
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path

from ..recipe import Part
from .describing import Literals, dict_of, families_of
from .keys import ManifestError
from .literal_file import file_of, write_literals
from .manifest import LONGEST, Manifest
from .opening import Directory, InTheWay, NotOurs, kind_of, named
from .partial import Partial
from .saving import checked_tensors
from .tabulating import table_of, top_of
from .toml_text import toml_text
from .writing import open_parent


def dump_manifest(path: str | os.PathLike[str], recipes: Mapping[str, Part], *, overwrite: bool = False) -> None:
    """Write a manifest of recipes: `load_manifest` gives equal ones.

    Parameters
    ----------
    path : path
        The TOML file to write.
    recipes : dict of str to Recipe or Part
        The tensors of a model by their names, such as those that were recorded, or read from another manifest.
    overwrite : bool
        Replace the file that is at `path`, at once.

    Raises
    ------
    TypeError, ValueError
        What no manifest can say, such as names with braces, in one line and before a byte is written.
    FileExistsError
        Something is at `path`, and is not overwritten; something else has the name of the file of literals.
    OSError
        Whatever the disk says.

    Notes
    -----
    Tensors whose names differ in a number alone, and whose recipes do not differ in more, share a table, with a named
    range in its name. Tables are in the order of their first tensors, so a manifest that is read back can have its
    tensors in another order.

    The values of literals (see `fastinit.literal`) go into a file beside the manifest, which has their SHA-256: for
    ``model.toml`` it is called ``model.literals-``, the first 16 digits of the hash, ``.safetensors``. It is written
    first, and never replaced or removed, since another manifest may need it. Without literals there is none.

    Examples
    --------
    >>> import fastinit as fi, pathlib, tempfile
    >>> page = pathlib.Path(tempfile.mkdtemp()) / "model.toml"
    >>> names = [f"layers.{layer}.weight" for layer in range(3)]
    >>> recipes = {name: fi.recipe("normal", (64, 64), std=0.02, seed=7, name=name) for name in names}
    >>> fi.checkpoint.dump_manifest(page, recipes)
    >>> print(page.read_text())
    # The initial weights of 3 tensors, 12,288 parameters
    seed = 7
    dtype = "float32"
    <BLANKLINE>
    [[tensors]]
    name = "layers.{layer:0..2}.weight"
    shape = [64, 64]
    init = "normal"
    std = 0.02
    <BLANKLINE>
    >>> fi.checkpoint.load_manifest(page) == recipes
    True
    """
    out = named(path)
    if isinstance(recipes, Part):
        raise TypeError("a manifest is of a dict of names to recipes, not of a single one")
    tensors = checked_tensors(recipes)
    dicts = {name: dict_of(recipe) for name, recipe in tensors.items()}
    literals = Literals(dicts)
    top = top_of(dicts.values())
    tables = [table_of(family, top) for family in families_of(dicts, literals)]
    parameters = sum(recipe.size for recipe in tensors.values())
    comment = f"The initial weights of {len(tensors)} tensors, {parameters:,} parameters"
    beside = None
    if literals.recipes:
        beside, digest = file_of(out.stem, literals.recipes)
        top["literals"] = {"file": beside.name, "sha256": digest}
    text = toml_text(comment, top, tables).encode()
    _check(out, text, tensors, literals)
    with open_parent(out) as directory:
        _check_free(directory, out, overwrite)
        if beside is not None:
            write_literals(out.parent, beside, digest)
        identity = hashlib.blake2b(text, digest_size=16, person=b"fastinit-page").hexdigest()
        partial = Partial(directory, out.name, identity, len(text), resume=not overwrite, overwrite=overwrite)
        try:
            partial.write(text, 0)
            partial.commit()
        finally:
            partial.close()


def _check(out: Path, text: bytes, tensors: Mapping[str, Part], literals: Literals) -> None:
    """ValueError unless the text reads back as these tensors."""
    what = "these recipes cannot be a manifest"
    if len(text) > LONGEST:
        raise ValueError(f"{what}: it would have {len(text):,} bytes, and {LONGEST:,} are read")
    try:
        found = Manifest(out, tomllib.loads(text.decode()), literals=literals.recipes).recipes()
    except ManifestError as error:
        raise ValueError(f"{what}: {error.mistakes[0]}") from None
    except RecursionError:
        raise ValueError(f"{what}: they are nested too deeply") from None
    for name, recipe in tensors.items():
        if found.get(name) != recipe:
            raise ValueError(f"{what}: {name!r} would read back as another tensor")


def _check_free(directory: Directory, out: Path, overwrite: bool) -> None:
    there = directory.status(out.name)
    if there is not None and not stat.S_ISREG(there.st_mode):
        raise NotOurs(out, kind_of(there))
    if there is not None and not overwrite:
        raise InTheWay(out)
