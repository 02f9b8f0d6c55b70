"""Recipe: an initializer with shape, dtype, seed and name. It holds no values; it can make any of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from . import plan
from .arrays import ON_CPU, allocate, as_output, check_export, check_shape, dtype_name, integers, numpy_dtype
from .initializers import Initializer, init
from .kinds import KINDS
from .kinds.composed import Cut
from .kinds.kind import Kind, Named
from .kinds.making import reshaped, transposed
from .kinds.reading import kind_of_dict, short
from .progress import Report, advancing, check_report, unheard
from .stream import STREAM_VERSION, check_name, check_seed, fresh_seed
from .threads import check_threads


class Part:
    """A region of a recipe's tensor, as lazy as the recipe; made by `Recipe.part`.

    It has its own shape, and everything a recipe has for making values: indexing, `fill`, `take`, `part`.
    """

    __slots__ = ("_recipe", "_region")

    _repr_html_: ClassVar[Callable[[Part], str]]  # set by the package: `notebook` imports this file

    def __init__(self, recipe: Recipe, region: plan.Region) -> None:
        self._recipe = recipe
        self._region = region

    @property
    def recipe(self) -> Recipe:
        """The recipe of the whole tensor."""
        return self._recipe

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the region."""
        return self._region.shape

    @property
    def dtype(self) -> np.dtype:
        """NumPy dtype of the arrays it makes; uint16 for bfloat16 without ml_dtypes."""
        return numpy_dtype(self._recipe._dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for n in self.shape:
            size *= n
        return size

    @property
    def nbytes(self) -> int:
        """Bytes of the array it describes."""
        return self.size * self.dtype.itemsize

    @property
    def seed(self) -> int | None:
        """Seed of the tensor; None where it is composed of others."""
        return self._recipe._seed

    @property
    def name(self) -> str | None:
        """Name of the tensor; None where it is composed of others."""
        return self._recipe._name

    @property
    def std(self) -> float:
        """Theoretical standard deviation of the values, before they are rounded to the dtype.

        Of a part, that of the whole tensor. Of what a tensor is pasted onto, the elements it replaces count as many as
        any others: its own standard deviation stands for those that are left.
        """
        return self._recipe._kind.std

    @property
    def bounds(self) -> tuple[float, float]:
        """Closed interval, exact in the dtype, that no value leaves; of a part, that of the whole tensor."""
        return self._recipe._kind.bounds

    def fill(self, out: Any, index: Any = ..., *, threads: int | None = None, progress: Report = None) -> Any:
        """Fill `out` with the values, or with those of a region.

        Parameters
        ----------
        out : array
            Writable memory of the recipe's dtype and of the region's shape; any strides.
        index : optional
            NumPy basic index of a region, such as ``np.s_[lo:hi, 128:256]``; everything unless given.
        threads : int, optional
            At most this many threads. Values do not depend on it.
        progress : bool or callable, optional
            True for a bar (needs tqdm), or a function of (done, total), called now and then: orthogonal matrices can
            take a while. Whatever else is filled is reported once, when it is done.

        Returns
        -------
        array
            `out`.

        Raises
        ------
        TypeError, ValueError, IndexError
            Before a byte is written.

        Notes
        -----
        What stops a fill on its way, such as Ctrl-C, carries a note that the buffer is incomplete.
        """
        region = self._region if index is ... else plan.select(self._region, index)
        self._recipe._write(region, out, threads, progress)
        return out

    def part(self, index: Any) -> Part:
        """That region, lazily: a `Part`.

        Raises
        ------
        IndexError
            The index does not fit.
        ValueError
            The tensor is nested so deep, or of so many others, that a part of it could not be described.
        """
        made = Part(self._recipe, plan.select(self._region, index))
        kind_of_part(made)
        return made

    def transpose(self, *axes: Any) -> Recipe:
        """The same elements with the axes in another order.

        Parameters
        ----------
        *axes : int
            The axes in their new order, as integers or as one tuple; backwards unless given.

        Returns
        -------
        Recipe
            Its seed and name are None: it is made of another tensor.
        """
        return Recipe._of(transposed(kind_of_part(self), integers(axes, "the axes") or range(self.ndim)[::-1]))

    @property
    def T(self) -> Recipe:
        """`transpose` without arguments: the axes backwards."""
        return self.transpose()

    def reshape(self, *shape: Any) -> Recipe:
        """The same elements, in C order, in another shape.

        Parameters
        ----------
        *shape : int
            Lengths, as integers or as one tuple; one of them may be -1: whatever is left.

        Returns
        -------
        Recipe
            Its seed and name are None: it is made of another tensor.
        """
        return Recipe._of(reshaped(kind_of_part(self), integers(shape, "the lengths of a shape")))

    def to_dict(self) -> dict[str, Any]:
        """Plain strict JSON, ``{"part": dict of the whole, "at": [...]}``; `Recipe.from_dict` reads it.

        A region that is all of the tensor has the dict of the tensor.
        """
        return {"stream": STREAM_VERSION, **kind_of_part(self).described()}

    def take(self, indices: Any, *, out: Any = None, threads: int | None = None) -> Any:
        """Gather rows: ``self[indices]`` for an array of integers along axis 0.

        Parameters
        ----------
        indices : array_like of int
            Any shape; negative ones count from the end; repeats are allowed.
        out : array, optional
            Memory of shape ``indices.shape + self.shape[1:]``; allocated unless given.
        threads : int, optional
            At most this many threads.

        Returns
        -------
        array
            `out`, or a new ndarray.

        Raises
        ------
        IndexError
            A row out of bounds; nothing has been written.
        """
        if self.ndim == 0:
            raise IndexError("a 0-d tensor has no rows")
        rows = plan.row_positions(indices, self.shape[0])
        shape = rows.shape + self.shape[1:]
        if out is None:
            array = result = allocate(shape, self._recipe._dtype)
        else:
            array, _ = as_output(out, self._recipe._dtype)
            result = out
            check_same_shape(array.shape, shape)
        if threads is not None:
            threads = check_threads(threads)
        if rows.ndim > 1 and self._recipe._kind.made_together:  # all rows in one go
            flat = np.empty((rows.size, *self.shape[1:]), array.dtype)
            self._recipe._fill(self._region, flat, rows.ravel(), threads)
            array[...] = flat.reshape(shape)
            return result
        for position in np.ndindex(rows.shape[:-1]):
            # leading axes of `indices` one by one; a single index as a list of one
            last_rows, last_out = (rows[position], array[position]) if rows.ndim else (rows[None], array[None])
            self._recipe._fill(self._region, last_out, last_rows, threads)
        return result

    def __getitem__(self, index: Any) -> np.ndarray:
        region = plan.select(self._region, index)
        out = allocate(region.shape, self._recipe._dtype)
        self._recipe._fill(region, out, None, None)
        return out

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("the values of a recipe exist only once they are made: copy=False cannot be honoured")
        made = self[...]
        return made if dtype is None else made.astype(dtype, copy=False)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """The values for another library, such as ``torch.as_tensor``: a new array of them, exported by NumPy.

        Raises
        ------
        BufferError
            bfloat16, another device than the CPU, ``copy=False``; before the values are made.
        """
        check_export(self._recipe._dtype, stream, dl_device, copy)
        made: Any = self[...]
        try:
            return made.__dlpack__(max_version=max_version)
        except TypeError:  # NumPy 2.0 knows one version only, which every consumer takes
            return made.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        """The CPU: (1, 0)."""
        return ON_CPU

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Part):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> str:
        """What equality, hash and tokens see."""
        if self._region == self._recipe._region:
            return self._recipe._canonical
        return json.dumps(self.to_dict(), sort_keys=True)

    def __dask_tokenize__(self) -> tuple[str, str]:
        return ("fastinit", self._identity())

    def __reduce__(self) -> tuple[Any, ...]:
        return Part, (self._recipe, self._region)

    def __repr__(self) -> str:
        return f"<part of shape {self.shape} of {self._recipe!r}>"


class Recipe(Part):
    """A tensor described: initializer, global shape, dtype, seed and name.

    Parameters
    ----------
    initializer : str or Initializer
        What to draw; see `init`.
    shape : int or tuple of int
        Global shape.
    dtype : dtype, optional
        float32 (default), float64, float16 or bfloat16.
    seed : int, optional
        At least 0, below 2**128; fresh entropy from the operating system unless given.
    name : str, optional
        Name of the tensor. Equal seed and name share bits: give every parameter its own.
    **parameters
        The initializer's, where it is given by name.

    Notes
    -----
    The value of an element is a function of seed, name, global shape, initializer and its flat index alone:
    any region, in any memory layout, with any number of threads, on any CPU, gives the same bits.

    Examples
    --------
    >>> import fastinit as fi
    >>> r = fi.recipe("he_normal", (50_000_000, 4096), seed=0, name="emb")
    >>> bool((r[7:9, 5] == r[7:9][:, 5]).all())
    True
    """

    __slots__ = ("_canonical_json", "_dtype", "_kind", "_name", "_seed")

    _canonical_json: str | None
    _dtype: str
    _kind: Kind
    _name: str | None
    _seed: int | None

    def __init__(
        self,
        initializer: str | Initializer,
        shape: Any,
        *,
        dtype: Any = "float32",
        seed: int | None = None,
        name: str = "",
        **parameters: Any,
    ) -> None:
        given = init(initializer, **parameters)
        shape = check_shape(shape)
        self._dtype = dtype_name("float32" if dtype is None else dtype)
        self._seed = fresh_seed() if seed is None else check_seed(seed)
        self._name = check_name(name)
        self._kind = KINDS[given.name](given, shape, self._dtype, self._seed, self._name)
        self._region = self._kind.region
        self._canonical_json = None

    @classmethod
    def _of(cls, kind: Kind) -> Recipe:
        """The recipe of a kind; without seed and name where it is composed."""
        made = object.__new__(Recipe)
        made._dtype = kind.dtype
        made._seed, made._name = (kind.seed, kind.name) if isinstance(kind, Named) else (None, None)
        made._kind, made._region, made._canonical_json = kind, kind.region, None
        return made

    @property
    def _recipe(self) -> Recipe:  # type: ignore[override]
        return self

    @property
    def _canonical(self) -> str:
        """What equality, hash and tokens see."""
        if self._canonical_json is None:
            self._canonical_json = json.dumps(self.to_dict(), sort_keys=True)
        return self._canonical_json

    @property
    def initializer(self) -> Initializer | None:
        """The initializer, with all its parameters, axes counted from 0; None for a tensor composed of others."""
        if not isinstance(self._kind, Named):
            return None
        given = self._kind.initializer
        return Initializer(given.name, **self._kind.parameters())

    def to_dict(self) -> dict[str, Any]:
        """Plain strict JSON with every default resolved; `from_dict` reads it back.

        Seeds of 2**53 and above are decimal strings, infinities "inf" and "-inf", axes counted from 0.
        """
        return {"stream": STREAM_VERSION, **self._kind.described()}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Recipe:
        """The recipe that `to_dict` described, of a recipe or of a part.

        Raises
        ------
        TypeError
            Not a mapping.
        ValueError
            A key missing or unknown, shapes that do not fit, another version of the stream; tensors nested deeper than
            64, or more than 65,536 of them in all.
        """
        if not isinstance(d, Mapping):
            raise TypeError(f"a recipe is described by a dict, not {type(d).__name__}")
        rest = dict(d)
        version = rest.pop("stream", None)
        if type(version) is not int or version != STREAM_VERSION:
            raise ValueError(f"the recipe is for stream {short(version)}; this version makes stream {STREAM_VERSION}")
        return cls._of(kind_of_dict(rest))

    # ---- the one way to the kernels ----------------------------------------------------------------

    def _write(self, region: plan.Region, out: Any, threads: int | None, progress: Report = None) -> None:
        array, _ = as_output(out, self._dtype)
        check_same_shape(array.shape, region.shape)
        if progress is not None:
            check_report(progress)
        if threads is not None:
            threads = check_threads(threads)
        self._fill(region, array, None, threads, progress)

    def _fill(
        self,
        region: plan.Region,
        array: np.ndarray,
        rows: np.ndarray | None,
        threads: int | None,
        progress: Report = None,
    ) -> None:
        """Write the region, or those of its rows, to `array`; everything has been checked, as `Kind.fill` needs it."""
        if array.size == 0:
            return
        kind = self._kind
        try:
            if rows is not None:
                kind.fill_rows(region, rows, array, threads, unheard)
            elif progress:
                with advancing(progress, kind.cost(region), self._name or "") as advance:
                    kind.fill(region, array, threads, advance)
            else:
                kind.fill(region, array, threads, unheard)
        except BaseException as error:
            error.add_note("fastinit: stopped before the end; the buffer is incomplete")
            raise

    def __reduce__(self) -> tuple[Any, ...]:
        return Recipe.from_dict, (self.to_dict(),)

    def __repr__(self) -> str:
        return repr(self._kind)


def recipe(
    initializer: str | Initializer,
    shape: Any,
    *,
    dtype: Any = "float32",
    seed: int | None = None,
    name: str = "",
    **parameters: Any,
) -> Recipe:
    """Describe a tensor without making it; see `Recipe` for parameters."""
    return Recipe(initializer, shape, dtype=dtype, seed=seed, name=name, **parameters)


def cut(part: Part, index: Any) -> Recipe:
    """The region that `Part.part` returns, as a recipe by itself, also where it is all of the tensor."""
    return Recipe._of(Cut(kind_of_part(part), plan.select(plan.whole(part.shape), index)))


def check_same_shape(got: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """ValueError unless `out`'s shape is the region's."""
    if got != wanted:
        raise ValueError(f"out has shape {got}, but the region has shape {wanted}")


def kind_of_part(part: Part) -> Kind:
    """The kind whose tensor a recipe, or a part of one, is."""
    whole = part._recipe._kind
    return whole if part._region == whole.region else Cut(whole, part._region)
