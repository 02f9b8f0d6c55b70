"""Fills on a GPU beside torch's, CuPy's (cuRAND) and a constant fill, in turns: `python benchmarks/gpu.py [GiB]`.

Prints GB/s, medians of the turns, and the ratios that floors are set for; milliseconds of orthogonal matrices beside torch's
own, and the memory that they take besides. Says so where there is no GPU.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

import fastinit as fi
import fastinit.cuda

TURNS = 7
#: Least ratios that we want to see on an H100 or H200 with 4 GiB: (dtype, ours, other) -> ratio.
FLOORS = {
    ("float32", "uniform", "constant"): 0.9,
    ("float32", "normal", "constant"): 0.55,
    ("float32", "normal", "torch normal"): 1.35,
    ("float32", "truncated 2", "torch truncated 2"): 4.5,
    ("bfloat16", "normal", "torch normal"): 1.3,
}
#: Most milliseconds of orthogonal matrices in float32 on an H200, and what we aim at; most memory beyond the output, by
#: the output.
ORTHOGONAL = {(4096, 4096): (10.0, 6.0), (65536, 512): (6.0, 4.0)}
MOST_MEMORY = 0.4


def main(gib: float) -> None:
    """Measure every dtype; torch owns the memory and the events."""
    try:
        import torch
    except ImportError as error:
        print(f"## not measured: {error}")
        return
    missing = fi.cuda.why_unavailable()
    if missing or not torch.cuda.is_available():
        print(f"## not measured: {missing or 'torch sees no CUDA device here'}")
        return
    print(torch.cuda.get_device_name(), "torch", torch.__version__, "CUDA", torch.version.cuda, f"{gib} GiB")
    for dtype in ("float32", "float64", "float16", "bfloat16"):
        rates = measured(torch, dtype, gib)
        for name, rate in rates.items():
            print(f"{dtype:9} {name:20} {rate:7.0f} GB/s")
        for (which, ours, other), least in FLOORS.items():
            if which == dtype and other in rates:
                ratio = rates[ours] / rates[other]
                print(f"{dtype:9} {ours} / {other}: {ratio:.2f}{'' if ratio >= least else f'  BELOW {least}'}")
    for shape, (most, aim) in ORTHOGONAL.items():
        ours, torchs, memory = orthogonal(torch, shape)
        said = "" if ours <= most else f"  ABOVE {most}"
        print(f"orthogonal {shape}: {ours:.2f} ms (aim {aim}), torch {torchs:.2f} ms{said}")
        print(f"orthogonal {shape}: memory {memory:.2f} x{'' if memory < MOST_MEMORY else f'  ABOVE {MOST_MEMORY}'}")


def orthogonal(torch, shape: tuple[int, int]) -> tuple[float, float, float]:
    """Milliseconds of ours and of torch's in float32, from the call to the end of the work, and ours' memory.

    The memory is the most that the device's pool has held for us, without torch's. R^-1 is made anew each time.
    """
    from cuda.bindings import driver as cu

    tensor = torch.empty(shape, device="cuda")
    _, pool = cu.cuDeviceGetDefaultMemPool(tensor.device.index)
    high = cu.CUmemPool_attribute.CU_MEMPOOL_ATTR_USED_MEM_HIGH

    def ours() -> None:
        fi.cuda.fill(tensor, fi.recipe("orthogonal", shape, seed=0, name="w"))

    times: dict[Callable[[], object], list[float]] = {ours: [], lambda: torch.nn.init.orthogonal_(tensor): []}
    for function in times:
        function()
    torch.cuda.synchronize()
    cu.cuMemPoolSetAttribute(pool, high, cu.cuuint64_t(0))
    ours()
    torch.cuda.synchronize()
    _, most = cu.cuMemPoolGetAttribute(pool, high)
    for _ in range(TURNS):
        for function, taken in times.items():
            torch.cuda.synchronize()
            begin = time.perf_counter()
            function()
            torch.cuda.synchronize()
            taken.append(1000 * (time.perf_counter() - begin))
    first, second = (statistics.median(taken) for taken in times.values())
    return first, second, int(most) / (tensor.numel() * tensor.element_size())


def measured(torch, dtype: str, gib: float) -> dict[str, float]:
    """GB/s by name."""
    tensor = torch.empty(
        int(gib * (1 << 30)) // np.dtype({"bfloat16": "u2"}.get(dtype, dtype)).itemsize,
        dtype=getattr(torch, dtype),
        device="cuda",
    )

    def ours(name: str, **given: float) -> Callable[[], object]:
        recipe = fi.recipe(name, tuple(tensor.shape), dtype=dtype, seed=0, name="w", **given)
        return lambda: fi.cuda.fill(tensor, recipe)

    contestants: dict[str, Callable[[], object]] = {
        "constant": ours("constant", value=0.1),
        "uniform": ours("uniform"),
        "normal": ours("normal"),
        "truncated 2": ours("truncated_normal"),
        "truncated 3": ours("truncated_normal", lower=-3.0, upper=3.0),
        "torch fill_": lambda: tensor.fill_(0.1),
        "torch uniform": tensor.uniform_,
        "torch normal": tensor.normal_,
        "torch truncated 2": lambda: torch.nn.init.trunc_normal_(tensor),
    }
    if dtype in ("float32", "float64"):
        try:
            import cupy

            array = cupy.from_dlpack(tensor)
            from cupy_backends.cuda.libs import curand

            handle = curand.createGenerator(curand.CURAND_RNG_PSEUDO_PHILOX4_32_10)
            suffix = "" if dtype == "float32" else "Double"
            uniform = getattr(curand, f"generateUniform{suffix}")
            normal = getattr(curand, f"generateNormal{suffix}")
            contestants["cuRAND uniform"] = lambda: uniform(handle, array.data.ptr, array.size)
            contestants["cuRAND normal"] = lambda: normal(handle, array.data.ptr, array.size, 0.0, 1.0)
        except Exception as error:  # each library of a machine may be missing in its own way
            print(f"## not beside cuRAND: {type(error).__name__}: {error}")
    for function in contestants.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(TURNS):
        for name, function in contestants.items():
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            function()
            end.record()
            end.synchronize()
            times[name].append(begin.elapsed_time(end) / 1000)
    nbytes = tensor.numel() * tensor.element_size()
    return {name: nbytes / statistics.median(taken) / 1e9 for name, taken in times.items()}


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 4.0)
