"""verify: whether a checkpoint still holds what its recipes make, and how far it has moved from them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..pieces import Piece, batches, boxes
from ..progress import Report, advancing, check_report
from ..questions import dtype_of, made_together, pieces_of
from ..recipe import Part
from ..threads import resolve_threads
from .literals import Hashed
from .reading import open_checkpoint
from .stored import Checkpoint, Stored, collecting_nothing
from .team import Team

#: Bytes that are made and compared at once by one thread.
PIECE = 1 << 20
#: Pieces that wait for a thread.
PIECES_AT_ONCE = 64
#: Bytes of a tensor that is compared as a whole, and how many such tensors are one thread's job.
SMALL, TOGETHER = 1 << 14, 256
#: Bytes of a tensor that is made as a whole only where the disk has most of it, too.
LARGEST_UNSEEN = 1 << 28

#: Index of an element, its value as the recipe makes it, and as it is on disk.
Difference = tuple[tuple[int, ...], float, float]


@dataclass(frozen=True)
class Comparison:
    """One tensor, as it is on disk and as its recipe makes it.

    Attributes
    ----------
    name : str
        Of the tensor.
    equal : bool
        The same shape, dtype and bits.
    problem : str
        Why nothing was compared: it is missing, has another shape or dtype, or no recipe. Empty if it was.
    first : tuple of int or None
        Index of the first element that differs.
    expected, found : float or None
        That element as the recipe makes it, and as it is on disk.
    largest_change : float or None
        Largest \\|w - w0\\|; NaN where an element is NaN.
    unchanged : float or None
        Fraction of the elements whose bits are the same; 1 for an empty tensor.
    moved : float or None
        How far the tensor has moved: the norm of w - w0 by the norm of w0, each the root of the sum of the squares, in
        float64. Infinite where those are all zeros and w is not, NaN
        where an element is not finite.
    """

    name: str
    equal: bool
    problem: str = ""
    first: tuple[int, ...] | None = None
    expected: float | None = None
    found: float | None = None
    largest_change: float | None = None
    unchanged: float | None = None
    moved: float | None = None

    def __str__(self) -> str:
        if self.equal:
            return f"{self.name}: equal"
        if self.problem:
            return f"{self.name}: {self.problem}"
        at = ", ".join(map(str, self.first or ()))
        return (
            f"{self.name}: element [{at}] is {self.found!r}, not {self.expected!r}; "
            f"max |w - w0| = {self.largest_change:.6g}, ||w - w0|| / ||w0|| = {self.moved:.3g}, "
            f"{1 - (self.unchanged or 0):.3g} of the elements changed"
        )


@dataclass(frozen=True)
class Verification:
    """What `verify` found: a `Comparison` for every tensor. It is true where all of them are equal.

    ``notes`` are lines about the file, such as what its index leaves out.
    """

    tensors: Mapping[str, Comparison]
    notes: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether every tensor is there and equal, and no other."""
        return all(comparison.equal for comparison in self.tensors.values())

    def __bool__(self) -> bool:
        return self.equal

    def __str__(self) -> str:
        return "\n".join(map(str, self.tensors.values()))


def verify(
    path: str | os.PathLike[str],
    recipes: Mapping[str, Part] | Part | None = None,
    *,
    threads: int | None = None,
    progress: Report = None,
) -> Verification:
    """Make a checkpoint's tensors again, piece by piece, and compare.

    Parameters
    ----------
    path : path
        A .safetensors or .npy file, a .zarr folder, or a model's folder or index in Hugging Face's layout.
    recipes : dict of str to Recipe or Part, or one of them, optional
        What the tensors should be; those that the file brings unless given. A single one is that of the one tensor of
        a file.
    threads : int, optional
        At most this many threads.
    progress : bool or callable, optional
        True for a bar (needs tqdm), or a function of (done, total) in bytes.

    Returns
    -------
    Verification
        True where all is equal; for trained weights it says how far each tensor has moved.

    Raises
    ------
    HeaderError
        A header that no honest writer makes; refused before any tensor is read.
    ValueError
        No recipes, neither given nor in the file.
    OSError
        What is not there, or cannot be read.

    Notes
    -----
    Orthogonal tensors are made whole, in memory. Of a long literal (see `fastinit.literal`) a file brings the SHA-256:
    it tells whether the values have changed, and not how far.
    """
    check_report(progress)
    threads = resolve_threads(threads)
    with collecting_nothing():
        checkpoint = open_checkpoint(path)
        wanted = _expected(Path(path), checkpoint, recipes)
    comparisons: dict[str, Comparison] = {}
    expected = {name: given.outline if isinstance(given, Hashed) else given for name, given in wanted.items()}
    sizes = {name: recipe.nbytes for name, recipe in expected.items()}
    total = sum(sizes.values())
    with advancing(progress, total, Path(path).name, "B") as advance, Team(threads) as team:
        small: list[str] = []
        large: list[str] = []
        for name, recipe in expected.items():
            on_disk = checkpoint.tensors.get(name)
            problem, hashed = _problem(on_disk, recipe), wanted[name]
            if not problem and isinstance(hashed, Hashed) and on_disk is not None:
                expected[name], problem = hashed.recovered(on_disk.open(), on_disk.held())
            if problem:
                comparisons[name] = Comparison(name, False, problem)
                advance(sizes[name])
            else:
                (small if sizes[name] <= SMALL else large).append(name)

        def compare(names: list[str]) -> dict[str, Comparison]:
            return {name: _compare_whole(name, checkpoint.tensors[name].open(), expected[name]) for name in names}

        for group in batches(batches(small, TOGETHER), PIECES_AT_ONCE):
            for found in team.map(compare, group):
                comparisons |= found
                advance(sum(sizes[name] for name in found))
        for name in large:
            stored = checkpoint.tensors[name].open()
            comparisons[name] = _compare(name, stored, expected[name], team, threads, advance)
    comparisons = {name: comparisons[name] for name in expected}
    others = [name for name in checkpoint.tensors if name not in expected]
    comparisons |= {name: Comparison(name, False, "not in the recipes") for name in others}
    return Verification(comparisons, checkpoint.notes)


def holds(path: Path, recipes: Mapping[str, Part] | Part, threads: int, progress: Report) -> bool:
    """Whether what is at `path`, if it can be read at all, is what the recipes make."""
    try:
        return verify(path, recipes, threads=threads, progress=progress).equal
    except (OSError, ValueError):
        return False


def _expected(
    path: Path, checkpoint: Checkpoint, recipes: Mapping[str, Part] | Part | None
) -> dict[str, Part | Hashed]:
    if recipes is None:
        own = checkpoint.recipes()
        if not own:
            raise ValueError(f"{path} brings no recipes of its own: give them, or a manifest")
        return dict(own)
    if isinstance(recipes, Part):
        if len(checkpoint.tensors) != 1:
            raise ValueError(f"{path} has {len(checkpoint.tensors)} tensors: give a dict of recipes")
        return dict.fromkeys(checkpoint.tensors, recipes)
    if not isinstance(recipes, Mapping) or not all(isinstance(recipe, Part) for recipe in recipes.values()):
        raise TypeError("recipes must be a dict of names to recipes or parts, or one of them")
    if path.suffix == ".npy" and len(recipes) == 1:  # a .npy file has no names
        return dict(zip(checkpoint.tensors, recipes.values()))
    return dict(recipes)


def _problem(stored: Stored | None, recipe: Part) -> str:
    if stored is None:
        return "missing"
    if stored.shape != recipe.shape:
        return f"of shape {stored.shape}, not {recipe.shape}"
    dtype = dtype_of(recipe)
    if stored.dtype != dtype:
        return f"of dtype {stored.dtype}, not {dtype}"
    if made_together(recipe) and recipe.nbytes > LARGEST_UNSEEN and stored.held() < recipe.nbytes // 4:
        return f"of {recipe.nbytes:,} bytes, of which the disk holds {stored.held():,}"
    return ""


def _compare_whole(name: str, stored: Any, recipe: Part) -> Comparison:
    """A tensor that costs less than the words about it."""
    if not isinstance(stored, np.ndarray):  # zarr's
        stored = np.asarray(stored[...])
    made = np.empty(recipe.shape, recipe.dtype)
    recipe.fill(made, threads=1)
    if stored.tobytes() == made.tobytes():
        return Comparison(name, True, largest_change=0.0, unchanged=1.0, moved=0.0)
    return _comparison(name, recipe, _differences(stored, recipe, Piece((), 0, recipe.size), 1))


def _compare(
    name: str, stored: Any, recipe: Part, team: Team, threads: int, advance: Callable[[int], None]
) -> Comparison:
    together = made_together(recipe)
    chunks = None if together else getattr(stored, "chunks", None)  # zarr reads and unpacks a chunk as a whole

    def parts() -> Iterator[Piece]:
        if chunks is not None:
            return boxes(recipe.shape, getattr(stored, "shards", None) or chunks)
        return pieces_of(recipe, PIECE // recipe.dtype.itemsize)

    def compare(piece: Piece) -> _Differences:
        return _differences(stored, recipe, piece, threads if together else 1)

    at_once = 1 if together else PIECES_AT_ONCE
    found, equal = _Differences(0, None, 0.0, 0.0, 0.0), bytearray()
    for batch in batches(parts(), at_once):
        for more in team.map(compare, batch):
            found = found.with_more(more)
            equal.append(more.first is None)
        advance(sum(piece.size for piece in batch) * recipe.dtype.itemsize)
    if found.first is not None:  # the norm of all that was made; of what has not changed it was not needed so far
        unchanged = (piece for piece, is_equal in zip(parts(), equal) if is_equal)
        for batch in batches(unchanged, at_once):
            start = sum(team.map(lambda piece: _squares(_made(recipe, piece, threads if together else 1)), batch))
            found = found._replace(start=found.start + start)
    return _comparison(name, recipe, found)


class _Differences(NamedTuple):
    """How some elements differ.

    How many do, index and both values of the first, the largest change; the sum of the squares of the changes, and that
    of the values that were made, which is 0 where nothing differs.
    """

    changed: int
    first: Difference | None
    largest: float
    change: float
    start: float

    def with_more(self, more: _Differences) -> _Differences:
        """With other elements, too."""
        firsts = [first for first in (self.first, more.first) if first is not None]
        return _Differences(
            self.changed + more.changed,
            min(firsts, key=lambda first: first[0], default=None),
            float(np.maximum(self.largest, more.largest)),  # NaN stays
            self.change + more.change,
            self.start + more.start,
        )


def _comparison(name: str, recipe: Part, found: _Differences) -> Comparison:
    unchanged = (recipe.size - found.changed) / recipe.size if recipe.size else 1.0
    if found.first is None:
        return Comparison(name, True, largest_change=0.0, unchanged=unchanged, moved=0.0)
    index, expected, held = found.first
    if found.start:
        moved = math.sqrt(found.change) / math.sqrt(found.start)
    else:
        moved = math.inf if found.change > 0 else found.change  # 0 where only signs of zeros differ, or NaN
    return Comparison(name, False, "", index, expected, held, found.largest, unchanged, moved)


def _made(recipe: Part, piece: Piece, threads: int) -> np.ndarray:
    part = recipe.part(piece.at)
    made = np.empty(part.shape, part.dtype)
    part.fill(made, threads=threads)
    return made


def _squares(array: np.ndarray) -> float:
    """The sum of the squares of the elements."""
    values = as_float64(array).ravel()
    with np.errstate(all="ignore"):  # what is not finite, or beyond float64, says so
        return float(np.square(values).sum())  # never BLAS, whose threads and sums are its own


def _differences(stored: Any, recipe: Part, piece: Piece, threads: int) -> _Differences:
    made = _made(recipe, piece, threads)
    held = np.asarray(stored[piece.at])
    differ = bits(made) != bits(held)
    at = np.flatnonzero(differ)
    if not len(at):
        return _Differences(0, None, 0.0, 0.0, 0.0)
    with np.errstate(all="ignore"):  # signalling NaNs, infinity less infinity
        old, new = (as_float64(a).ravel() for a in (made, held))
        change = new[at] - old[at]
        sums = float(np.square(change).sum()), float(np.square(old).sum())
        largest = float(np.max(np.abs(change)))
    inside = iter(np.unravel_index(at[0], made.shape))
    corner = (*piece.at, *(slice(0, n) for n in recipe.shape[len(piece.at) :]))
    index = tuple(start.start + int(next(inside)) if isinstance(start, slice) else start for start in corner)
    return _Differences(len(at), (index, float(old[at[0]]), float(new[at[0]])), largest, *sums)


def bits(array: np.ndarray) -> np.ndarray:
    """Elements as integers: NaNs and signed zeros compare as they are."""
    array = np.ascontiguousarray(array)
    order = array.dtype.byteorder
    return array.view(f"{'' if order == '|' else order}u{array.itemsize}")


def as_float64(array: np.ndarray, dtype: str = "bfloat16") -> np.ndarray:
    """float64 values; without ml_dtypes bfloat16 is read from its bits."""
    if array.dtype == np.uint16 and dtype == "bfloat16":
        return (array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return array.astype(np.float64)
