"""Known answers, computed when the package is imported: a wrongly built extension must not work in silence.

CFLAGS of the builder, or a fault of a compiler or an emulator, can change values. They can also turn denormal numbers
off in the whole process. Either makes the import fail.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator


def denormals_work() -> bool:
    """Whether this thread's floating-point arithmetic has denormal numbers."""
    return sys.float_info.min / 2 > 0


# An extension linked with -ffast-math turns them off while it is loaded: this line comes before that.
_BEFORE = denormals_work()

import numpy as np  # noqa: E402

from . import _kernels  # noqa: E402
from .arrays import scratch_for  # noqa: E402

#: title -> distribution and parameters: every formula of docs/stream.md, section 4
_DRAWN = {
    "uniform": ("uniform", (-0.05, 0.05)),
    "normal": ("normal", (1.0, 0.03)),
    "truncated normal within 2": ("truncated_normal", (0.0, 0.02, -2.0, 2.0)),
    "truncated normal within 3": ("truncated_normal", (0.0, 1.0, -3.0, 3.0)),
    "truncated normal beyond 4": ("truncated_normal", (0.0, 1.0, 4.0, 5.0)),
    "truncated normal beyond 1000": ("truncated_normal", (0.0, 1.0, 1200.0, 1300.0)),
    "truncated normal between narrow cuts": ("truncated_normal", (0.0, 1.0, 0.25, 0.2505)),
}
#: a standard deviation for each dtype, four times the least normal number: a fifth of the values are denormal
_SMALLEST_STD = {"float32": 2.0**-124, "float64": 2.0**-1020, "float16": 2.0**-12, "bfloat16": 2.0**-124}
_FIRST, _COUNT = 3, 200  # the beginning, middle and end of a vector

#: the first bytes of BLAKE2b of the values, little-endian
ANSWERS = {
    "uniform, float32": "03352071356284f4",
    "normal, float32": "d853b3f6c5c0bcc5",
    "truncated normal within 2, float32": "0acd3b31fe1b26d7",
    "truncated normal within 3, float32": "a322e589442a4c0a",
    "truncated normal beyond 4, float32": "3173ccb376592620",
    "truncated normal beyond 1000, float32": "962348761408e764",
    "truncated normal between narrow cuts, float32": "0595a6987972ad21",
    "denormal normal, float32": "5499ae76ef421dd1",
    "uniform, float64": "6f19d9e769590e7c",
    "normal, float64": "4bc55c3db17a7058",
    "truncated normal within 2, float64": "56527115791cec54",
    "truncated normal within 3, float64": "915e85d19c5e2683",
    "truncated normal beyond 4, float64": "9e8b7aa772ec79fc",
    "truncated normal beyond 1000, float64": "47db86ca720838e7",
    "truncated normal between narrow cuts, float64": "a29c952e87f700df",
    "denormal normal, float64": "eac8d756b61eeb14",
    "uniform, float16": "a3dbe69268672b05",
    "normal, float16": "53e45c3436876bb3",
    "truncated normal within 2, float16": "48e9fc5fb53c710a",
    "truncated normal within 3, float16": "75df553e9c0c3b1e",
    "truncated normal beyond 4, float16": "8a8c2af79353e461",
    "truncated normal beyond 1000, float16": "49a2096fb812862e",
    "truncated normal between narrow cuts, float16": "3fd3a85d508032fe",
    "denormal normal, float16": "cfa736b5f88bc45f",
    "uniform, bfloat16": "8ee9d273565a0188",
    "normal, bfloat16": "a3108b29218e75ae",
    "truncated normal within 2, bfloat16": "c14c6af9342abee3",
    "truncated normal within 3, bfloat16": "b2c6ce3825612343",
    "truncated normal beyond 4, bfloat16": "ec9c80e1c1291504",
    "truncated normal beyond 1000, bfloat16": "de352643aa6d52da",
    "truncated normal between narrow cuts, bfloat16": "a9a656e59bc2007c",
    "denormal normal, bfloat16": "36bcc614a3e430e5",
    "product, float32": "a500a08787b50969",
    "reflectors, float32": "99925248433bf7ec",
    "product, float64": "812c9791a66b58b7",
    "reflectors, float64": "f051d59be2e7a5a9",
}


def answers() -> Iterator[tuple[str, str]]:
    """What the chosen instruction set makes of every case, on one thread."""
    for dtype, smallest in _SMALLEST_STD.items():
        for title, (distribution, parameters) in {**_DRAWN, "denormal normal": ("normal", (0.0, smallest))}.items():
            yield f"{title}, {dtype}", _digest(_drawn(distribution, dtype, parameters, _COUNT))
    for dtype in ("float32", "float64"):
        a = _drawn("normal", dtype, (0.0, 1.0), 390).reshape(30, 13)
        product = np.empty((30, 30), dtype)
        _kernels.multiply(product, a, a.T, "set", scratch_for(1), 1)
        yield f"product, {dtype}", _digest(product)
        steps = _kernels.Steps()
        steps.reflectors(a, np.empty(13))
        steps.run(scratch_for(1), 1, None)
        yield f"reflectors, {dtype}", _digest(a)


def _drawn(distribution: str, dtype: str, parameters: tuple[float, ...], count: int) -> np.ndarray:
    # bfloat16 as bits: importing ml_dtypes would take longer than all of this
    out = np.empty(count, np.uint16 if dtype == "bfloat16" else dtype)
    values = _kernels.Values(distribution, dtype, parameters, 0x0123456789ABCDEF, 0xFEDCBA9876543210)
    _kernels.fill(values, out, _FIRST, [(count, 1, out.itemsize, None)], 1)
    return out


def _digest(values: np.ndarray) -> str:
    little = values.view(f"u{values.itemsize}").astype(f"<u{values.itemsize}", copy=False)
    return hashlib.blake2b(little.tobytes(), digest_size=8).hexdigest()


def check() -> None:
    """ImportError unless every answer is the known one, and denormal numbers are as they were."""
    if _BEFORE and not denormals_work():
        _kernels.DefaultFloatEnvironment().__enter__()  # the importing program may go on without us
        raise ImportError(
            "fastinit: its extension turned denormal numbers off for the whole process when it was loaded; it was "
            "linked with -ffast-math, -Ofast or the like: build it without"
        )
    for case, found in answers():
        if found != ANSWERS[case]:
            raise ImportError(
                f"fastinit: wrong values ({case}; instruction set {_kernels.isa()}): the extension was miscompiled; "
                "build it again without CFLAGS of your own, or with another compiler"
            )
