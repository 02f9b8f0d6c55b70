"""Whole models and tables in their frameworks: interleaved runs, minima and medians, ratios of one session.

    make bench-frameworks

Each contestant runs in turn, five times, on fresh memory, as real code does. Beside ours stands the same work with a
constant fill in the place of the random one: what memory allows.
"""

import gc
import hashlib
import itertools
import multiprocessing
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from quick import QUICK, size

import fastinit as fi
import fastinit.torch as ft
from fastinit.torch import intercepting

ROUNDS = size(5, 1)
LLAMA = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": size(22, 1),
    "vocab_size": size(32000, 2000),
}
WIDE, SQUARE = size(8192, 512), size(4096, 256)
HEADS = {"num_attention_heads": 32, "num_key_value_heads": 4}


def compare(title, contestants, rounds=ROUNDS):
    """Runs every contestant in turn and prints how much longer than the first each takes."""
    times = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            gc.collect()
            start = time.perf_counter()
            made = run()
            times[name].append(time.perf_counter() - start)
            del made
    print(f"\n{title}")
    ours = times[next(iter(times))]
    for name, taken in times.items():
        ratio = min(taken) / min(ours), statistics.median(taken) / statistics.median(ours)
        print(
            f"  {name:<44} minimum {ratio[0]:6.2f}  median {ratio[1]:6.2f}   ({min(taken):.3g} s at best)", flush=True
        )


class Constants:
    """intercept, but every fill writes one value."""

    def __enter__(self):
        self.real = dict(intercepting._INIT)
        intercepting._INIT.update(dict.fromkeys(self.real, self.fill))
        self.mode = ft.intercept(0)
        self.mode.__enter__()

    def __exit__(self, *exception):
        self.mode.__exit__(*exception)
        intercepting._INIT.update(self.real)

    @staticmethod
    def fill(tensor, *args, **kwargs):
        return ft.fill_(tensor, fi.recipe("constant", tuple(tensor.shape), value=0.5))


def within(context, make):
    with context:
        return make()


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**LLAMA, **HEADS)

    def make():
        return LlamaForCausalLM(config)

    contestants = {
        "intercept()": lambda: within(ft.intercept(0), make),
        "the same hook, constant fill": lambda: within(Constants(), make),
        "plain": make,
    }
    compare(f"LlamaForCausalLM, {sum(p.numel() for p in make().parameters()):,} parameters", contestants)
    plain, ours = make(), within(ft.intercept(0), make)
    for (name, a), b in zip(plain.named_parameters(), ours.parameters()):
        wanted, got = a.std().item(), b.std().item()
        assert abs(wanted - got) <= 0.02 * wanted, name
        assert abs(b.mean().item()) <= 0.02 or a.mean() == b.mean(), name


def linear():
    def make():
        return torch.nn.Linear(WIDE, WIDE)

    contestants = {
        "intercept()": lambda: within(ft.intercept(0), make),
        "the same hook, constant fill": lambda: within(Constants(), make),
        "plain": make,
    }
    compare(f"torch.nn.Linear({WIDE}, {WIDE})", contestants)


def meta():
    def empty():
        with torch.device("meta"):
            return torch.nn.Sequential(*(torch.nn.Linear(SQUARE, SQUARE) for _ in range(16)))

    def theirs():
        module = empty().to_empty(device="cpu")
        for child in module:
            child.reset_parameters()
        return module

    def with_constants():
        return ft.init_module_(empty(), {"*": fi.init("constant", value=0.5)})

    contestants = {
        "init_module_": lambda: ft.init_module_(empty(), {"*.weight": "he_uniform", "*.bias": "zeros"}),
        "init_module_, constants": with_constants,
        "to_empty, reset_parameters": theirs,
    }
    compare(f"a meta model of 16 Linear({SQUARE}, {SQUARE})", contestants)


def sparse():
    for shape in ((1024, 1024), (100, 20_000), (4096, 4096)):
        weight = torch.empty(shape)
        contestants = {
            "sparse_": lambda weight=weight: ft.sparse_(weight, 0.9, seed=0),
            "torch.nn.init.sparse_": lambda weight=weight: torch.nn.init.sparse_(weight, 0.9),
        }
        compare(f"sparse_ of {shape}, 0.9 of it zeros", contestants, rounds=size(20, 1))


def export():
    recipe = fi.recipe("normal", (2000, 64), seed=0)
    contestants = {
        "numpy.asarray(recipe)": lambda: np.asarray(recipe),
        "torch.as_tensor(recipe)": lambda: torch.as_tensor(recipe),
        "fastinit.torch.tensor(recipe)": lambda: ft.tensor(recipe),
    }
    compare("a recipe of (2000, 64) as an array", contestants, rounds=size(50, 1))


def spectral():
    for shape in ((512, 512), (4096, 4096), (1024, 9216)):
        module = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(*shape, bias=False)).eval()
        matrix = ft.tensor(fi.recipe("he_normal", shape, seed=0, name="weight"))
        contestants = {
            "init_module_": lambda module=module: ft.init_module_(module, {"*": "he_normal"}),
            "torch.linalg.svdvals": lambda matrix=matrix: torch.linalg.svdvals(matrix),
        }
        compare(f"spectral_norm of {shape}, filled with u and v", contestants, rounds=size(3, 1))


# ---- a sharded table -------------------------------------------------------------------------------------------

ROWS, WIDTH = size(40_000_000, 400_000), 128
TABLE = {"std": 0.02, "seed": 0, "name": "emb"}


def rows_of(part, parts):
    return slice(ROWS * part // parts, ROWS * (part + 1) // parts)


def touch(nbytes):
    np.ones(nbytes, np.uint8)


def fill_share(part, parts, dtype):
    """One process's rows, on fresh memory and then again; and hashes of the blocks of its bytes."""
    table = fi.recipe("normal", (ROWS, WIDTH), dtype=dtype, **TABLE)
    shard = table.part(np.s_[rows_of(part, parts)])
    out = np.empty(shard.shape, np.uint16 if dtype == "bfloat16" else dtype)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        shard.fill(out)
        times.append(time.perf_counter() - start)
    block = ROWS // 40
    blocks = [hashlib.sha256(out[low : low + block]).digest() for low in range(0, len(out), block)]
    return times[0], min(times[1:]), blocks


def in_a_process(function, *arguments):
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def available_memory():
    with open("/proc/meminfo") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def table():
    dtype = "float32" if available_memory() > ROWS * WIDTH * 4 + (3 << 29) else "bfloat16"
    print(f"\nembedding of {ROWS:,} x {WIDTH} in {dtype}, a process for each share")
    # the machine's memory for the first time: the later processes would not meet that
    in_a_process(touch, ROWS * WIDTH * (2 if dtype == "bfloat16" else 4))
    first = None
    for parts in (1, 2, 4):
        # one after the other: on machines of their own they would not share this memory
        cold, warm, hashes = zip(*(in_a_process(fill_share, part, parts, dtype) for part in range(parts)))
        whole = hashlib.sha256(b"".join(itertools.chain.from_iterable(hashes))).hexdigest()
        first = first or (statistics.median(cold), statistics.median(warm), whole)
        assert whole == first[2]
        print(
            f"  1/{parts}: fresh memory {statistics.median(cold) / first[0]:.3f} of the whole's time, "
            f"again {statistics.median(warm) / first[1]:.3f} ({statistics.median(warm):.3g} s); sha256 {whole[:16]}",
            flush=True,
        )
    recipe = fi.recipe("normal", (ROWS, WIDTH), dtype=dtype, **TABLE)
    columns = recipe.part(np.s_[:, 32:64])
    evicted = np.random.default_rng(0).integers(0, ROWS, 100_000)
    assert columns.take(evicted[:100]).tobytes() == recipe.take(evicted[:100])[:, 32:64].tobytes()
    out = columns.take(evicted)
    row = fi.recipe("normal", out.size, dtype=dtype, **TABLE)
    contestants = {
        "in a row": lambda: row.fill(out.reshape(-1)),
        "rows of the shard": lambda: columns.take(evicted, out=out),
    }
    compare("100,000 evicted rows of a shard of 32 columns, against as many elements in a row", contestants)


# ---- out of core -----------------------------------------------------------------------------------------------


def dask():
    """A table larger than half of this machine's memory, to a zarr on disk, by two worker processes, one of them killed."""
    import tempfile
    from pathlib import Path

    import zarr
    from distributed import Client, LocalCluster

    from fastinit.dask import array

    memory = size(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), 1 << 29)
    recipe = fi.recipe("normal", (int(0.55 * memory) // 4096, 1024), std=0.02, seed=0, name="emb")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        target = zarr.create_array(
            Path(folder) / "t.zarr", shape=recipe.shape, chunks=(1 << 13, 1024), dtype="float32", compressors=None
        )
        cluster = LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None)
        with cluster, Client(cluster) as client:
            start = time.perf_counter()
            writing = client.compute(array(recipe, target.chunks).store(target, lock=False, compute=False))
            while len(list((Path(folder) / "t.zarr" / "c").glob("*"))) < target.nchunks // 3:
                time.sleep(0.05)
            os.kill(next(iter(client.run(os.getpid).values())), 9)
            writing.result()
            taken = time.perf_counter() - start
        equal = all(
            np.array_equal(target[low : low + (1 << 16)], recipe[low : low + (1 << 16)])
            for low in range(0, len(recipe), 1 << 16)
        )
        print(
            f"\n{recipe.nbytes / memory:.2f} of the memory to zarr by two workers, one killed on the way: "
            f"{'equal to' if equal else 'DIFFERS FROM'} the recipe ({recipe.nbytes / taken / 1e9:.2f} GB/s)"
        )
        assert equal


if __name__ == "__main__":
    print(f"{os.cpu_count()} CPUs, {fi.get_num_threads()} threads, {fi._kernels.isa()}, torch {torch.__version__}")
    if QUICK:
        print("QUICK: everything runs once, on little; these figures mean nothing")
    jobs = {
        "llama": llama,
        "linear": linear,
        "meta": meta,
        "sparse": sparse,
        "export": export,
        "spectral": spectral,
        "table": table,
        "dask": dask,
    }
    for name in sys.argv[1:] or jobs:
        jobs[name]()
