"""Tensors whose values are given."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

from ..arrays import DTYPES, check_shape, dtype_name, numpy_dtype
from .kind import Advance, Placed, Positions


class Literal(Placed):
    """Values as they were given.

    Parameters
    ----------
    values : ndarray
        Of a shape and dtype that recipes have, in C order; the kind's own from then on.
    dtype : str
        A name in `DTYPES`.
    """

    __slots__ = ("_values",)

    def __init__(self, values: np.ndarray, dtype: str) -> None:
        super().__init__(values.shape, dtype)
        self._values = values
        values.flags.writeable = False

    @property
    def mean(self) -> float:
        with np.errstate(all="ignore"):  # infinities and NaN are values, too
            return float(self._wide().mean()) if self._values.size else 0.0

    @property
    def std(self) -> float:
        with np.errstate(all="ignore"):
            return float(self._wide().std()) if self._values.size else 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest value; NaN where one is."""
        if not self._values.size:
            return 0.0, 0.0
        values = self._wide()
        return float(values.min()), float(values.max())

    def described(self) -> dict[str, Any]:
        little = self._values.view(f"u{self._values.itemsize}").astype(f"<u{self._values.itemsize}", copy=False)
        text = base64.b64encode(little.tobytes()).decode()
        return {"literal": text, "dtype": self.dtype, "shape": list(self.shape)}

    def cost_at(self, positions: Positions) -> int:
        return math.prod(map(len, positions))

    def fill_at(self, positions: Positions, grid: np.ndarray, threads: int, advance: Advance) -> None:
        view = self._values.view(grid.dtype)  # uint16 takes bfloat16 by its bits
        for axis, along in enumerate(positions):
            index = _slice_of(along) if isinstance(along, range) else along
            view = view[(*(slice(None),) * axis, index)]
        bits = f"u{view.itemsize}"  # memory of uint16 may stand for bfloat16
        grid.view(bits)[...] = view.view(bits)
        advance(grid.size)

    def flat(self) -> Literal:
        return Literal(self._values.reshape(-1), self.dtype)

    def _wide(self) -> np.ndarray:
        values = self._values
        if self.dtype == "bfloat16":
            return (values.view(np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        return values.astype(np.float64)

    def __repr__(self) -> str:
        return f"literal(..., shape={self.shape}, dtype={self.dtype!r})"


def literal_of_array(array: Any, dtype: Any) -> Literal:
    """A copy of the array's values; TypeError for another dtype."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError("a masked array has elements without values: fill them first")
    given = np.asarray(array)
    if not given.dtype.isnative:
        given = given.astype(given.dtype.newbyteorder("="))
    if given.dtype == np.uint16 and dtype is not None and dtype_name(dtype) == "bfloat16":
        name = "bfloat16"
    else:
        try:
            name = dtype_name(given.dtype)
        except TypeError:
            raise TypeError(f"a literal holds {', '.join(DTYPES)}, not {given.dtype}: convert it first") from None
    if dtype is not None and dtype_name(dtype) != name:
        raise TypeError(f"the array has dtype {name}, not the dtype {dtype_name(dtype)} that was asked for")
    check_shape(given.shape)
    return Literal(np.array(given, order="C").view(numpy_dtype(name)), name)


def literal_of_text(text: Any, dtype: str, shape: tuple[int, ...]) -> Literal:
    """The values that `described` wrote; ValueError for another text, another length."""
    itemsize = numpy_dtype(dtype).itemsize
    nbytes = math.prod(shape) * itemsize
    if not isinstance(text, str):
        raise ValueError(f"a literal is base64 text, not {type(text).__name__}")
    if len(text) != (nbytes + 2) // 3 * 4:
        raise ValueError(
            f"a literal of shape {shape} and dtype {dtype} is {nbytes} bytes; its base64 has another length"
        )
    try:
        decoded = base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, UnicodeEncodeError):
        raise ValueError("a literal is base64 text; this one has other characters") from None
    if len(decoded) != nbytes:
        raise ValueError(f"a literal of shape {shape} and dtype {dtype} is {nbytes} bytes, got {len(decoded)}")
    native = np.frombuffer(decoded, f"<u{itemsize}").astype(f"u{itemsize}")
    return Literal(native.view(numpy_dtype(dtype)).reshape(shape), dtype)


def _slice_of(along: range) -> slice:
    stop = along.start + len(along) * along.step
    return slice(along.start, None if stop < 0 else stop, along.step)
