"""save: recipes to files larger than memory, at the speed of the disk."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..progress import Report, check_report
from ..recipe import Part
from ..threads import resolve_threads
from . import folder, layout, writing, zarr_store
from .header import check_tensor_name
from .opening import named
from .writing import Options


def save(
    path: str | os.PathLike[str],
    recipes: Mapping[str, Part] | Part,
    *,
    max_shard_size: int | str | None = None,
    part: tuple[int, int] | None = None,
    threads: int | None = None,
    progress: Report = None,
    resume: bool = False,
    overwrite: bool = False,
) -> bool:
    """Write tensors to disk, piece by piece: never the whole of one in memory.

    Parameters
    ----------
    path : path
        What to write, by its ending: ``.safetensors``; ``.npy`` for one tensor; ``.zarr`` for an array (of a single
        recipe) or a group of them, Zarr format 3, where zarr is installed. With `max_shard_size` a folder in Hugging
        Face's layout.
    recipes : dict of str to Recipe or Part, or one of them
        The tensors under their names in the file; a single one goes under its own name. Tensors composed of others
        (see `fastinit.concatenate`) have no name: give a dict for ``.safetensors``.
    max_shard_size : int or str, optional
        Bytes of tensors in a file at most, unless one tensor alone is larger: an integer, "5GB" or "512MiB".
    part : (int, int), optional
        ``(i, n)``: this process, number ``0 <= i < n``, writes every n-th of the folder's files. The others need not
        be heard of: who finds that all files are there finishes the folder. Files that are complete stay as they are;
        a part that was killed needs `resume`.
    threads : int, optional
        At most this many threads. The bytes do not depend on it.
    progress : bool or callable, optional
        True for a bar (needs tqdm), or a function of (done, total) in bytes.
    resume : bool
        Go on with what an interrupted call has left; where nothing is left to do, do nothing.
    overwrite : bool
        Replace what is at `path`, at the end and at once. Other files of a model's folder stay; a ``.zarr`` is
        replaced as a whole. Without `resume`, what an interrupted call has left is started again.

    Returns
    -------
    bool
        Whether `path` is complete: not, while other parts are still to come.

    Raises
    ------
    TypeError, ValueError
        Bad input, before anything is written; a partial file of other recipes.
    FileExistsError
        Something is at `path`, or an interrupted call's partial file, and neither `resume` nor `overwrite` says what
        to do about it.
    OSError
        Whatever the disk says. What has been written so far is kept for `resume`.
    ImportError
        A bar without tqdm, or ``.zarr`` without zarr.

    Notes
    -----
    Everything is written to ``path.partial`` beside a small ``path.journal``, synced, and then renamed: `path` is
    what it was before or complete, whatever kills the process or the machine.

    Memory beyond the interpreter's stays below 64 MiB, but for orthogonal tensors: those are made in the mapped file,
    which the system may write out at any time, and take what their factor takes (see `fastinit.orthogonal`); in
    ``.zarr`` they are made whole.

    The recipes are in a safetensors file's metadata, so that `verify` needs nothing else.

    Examples
    --------
    >>> import fastinit as fi, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> table = fi.recipe("normal", (1000, 64), std=0.02, seed=0, name="emb")
    >>> fi.checkpoint.save(folder / "model.safetensors", {"emb": table})
    True
    >>> bool(fi.checkpoint.verify(folder / "model.safetensors"))
    True
    """
    out = named(path)
    check_report(progress)
    options = Options(resolve_threads(threads), progress, bool(resume), bool(overwrite))
    tensors = checked_tensors(recipes)
    if isinstance(recipes, Part) and recipes.name is None and out.suffix not in (".npy", ".zarr"):
        raise ValueError(f"a composed tensor has no name: give a dict of its name in {out.name} to it")
    share, shares = _checked_part(part)
    if max_shard_size is not None:
        if out.suffix in (".npy", ".zarr"):
            raise ValueError(f"{out}: max_shard_size makes a folder of .safetensors files, not {out.suffix}")
        return folder.save(out, layout.shards(tensors, layout.parse_size(max_shard_size)), share, shares, options)
    if shares > 1:
        raise ValueError("part= shares out whole files: give a max_shard_size too")
    if out.suffix == ".zarr":
        zarr_store.save(out, recipes if isinstance(recipes, Part) else tensors, options)
    elif out.suffix == ".safetensors":
        writing.save(out, layout.safetensors_file(out.name, tensors), options)
    elif out.suffix == ".npy":
        writing.save(out, layout.npy_file(out.name, tensors), options)
    else:
        raise ValueError(
            f"{out}: the ending says what to write: .safetensors, .npy or .zarr, or a folder with max_shard_size"
        )
    return True


def checked_tensors(recipes: Mapping[str, Part] | Part) -> dict[str, Part]:
    """The tensors by their names; TypeError or ValueError for what is not one."""
    if isinstance(recipes, Part):
        recipes = {recipes.name or "": recipes}  # composed tensors have no name
    if not isinstance(recipes, Mapping):
        raise TypeError(f"recipes must be a dict of names to recipes, or a recipe, not {type(recipes).__name__}")
    if not recipes:
        raise ValueError("there is no tensor to write")
    for name, recipe in recipes.items():
        check_tensor_name(name)
        if not isinstance(recipe, Part):
            raise TypeError(f"{name!r} must be a Recipe or a Part, not {type(recipe).__name__}")
    return dict(recipes)


def _checked_part(part: tuple[int, int] | None) -> tuple[int, int]:
    if part is None:
        return 0, 1
    if not (isinstance(part, tuple) and len(part) == 2 and all(type(n) is int for n in part)):
        raise TypeError(f"part must be two integers (i, n), not {part!r}")
    if not 0 <= part[0] < part[1]:
        raise ValueError(f"part=(i, n) needs 0 <= i < n, got {part}")
    return part
