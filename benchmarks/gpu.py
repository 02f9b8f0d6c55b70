"""Fills on a GPU beside torch's, CuPy's (cuRAND) and a constant fill, in turns: `python benchmarks/gpu.py [GiB]`.

Prints GB/s, medians of the turns, and the ratios that floors are set for. Says so where there is no GPU.
"""

from __future__ import annotations

import statistics
import sys
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
