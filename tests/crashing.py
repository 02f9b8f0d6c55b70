"""Kills `save` again and again, in forked children, and looks at what it leaves: run by tests/test_resume.py.

    python tests/crashing.py SCENARIO FOLDER step|time

"step": at every call that changes the disk, one after the other, a write half done. "time": twenty times at random
moments, each time going on from what is there. Prints how many kills there were; an AssertionError ends it.
"""

import contextlib
import itertools
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import zarr  # noqa: F401  here, or each child would have to

import fastinit as fi
from fastinit.checkpoint import save, writing, zarr_store
from models import three

CALLS = ("pwrite", "write", "ftruncate", "fdatasync", "fsync", "posix_fallocate", "replace", "rename", "link", "unlink")
CALLS += ("mkdir", "rmdir", "symlink", "fchmod", "fchown", "open")
#: Name of the output, what is there before, options.
SCENARIOS = {
    "file": ("m.safetensors", None, {}),
    "file over another": ("m.safetensors", "another", {"overwrite": True}),
    "file again": ("m.safetensors", "interrupted", {"overwrite": True}),
    "npy": ("m.npy", None, {}),
    "folder": ("hf", None, {"max_shard_size": 3000}),
    "folder of small files": ("hf small", None, {"max_shard_size": 500}),
    "folder over another": ("hf", "another", {"max_shard_size": 3000, "overwrite": True}),
    "folder again": ("hf", "interrupted", {"max_shard_size": 3000, "overwrite": True}),
    "zarr": ("m.zarr", None, {}),
    "zarr over another": ("m.zarr", "another", {"overwrite": True}),
    "zarr again": ("m.zarr", "interrupted", {"overwrite": True}),
}


def model(name, size):
    if name.endswith(".npy"):
        return fi.recipe("normal", (size, 7), seed=0, name="a")
    return three(size=size)


def contents(path):
    """What is at `path`, to compare; None for nothing."""
    if not path.exists():
        return None
    if path.is_file():
        return path.read_bytes()
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def in_child(function):
    """Run it in a forked child; the child's number."""
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def wait(child):
    """The child's exit status, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at(step):
    """This process dies in place of its call number `step` that changes the disk."""
    count = 0

    def dying(name, original):
        def call(*arguments, **keywords):
            nonlocal count
            if name == "open" and not arguments[1] & os.O_CREAT:
                return original(*arguments, **keywords)
            count += 1
            if count == step:
                if name in ("pwrite", "write"):  # half of it
                    fd, data, *offset = arguments
                    original(fd, bytes(data)[: len(data) // 2], *offset)
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)
            return original(*arguments, **keywords)

        return call

    for name in CALLS:
        setattr(os, name, dying(name, getattr(os, name)))


def main(scenario, where, how):
    name, before, options = SCENARIOS[scenario]
    where = Path(where)
    size = 200 if how == "step" else 400_000
    if how == "step":
        writing.PIECE, writing.STRETCH, zarr_store.CHUNK, zarr_store.STRETCH = 800, 2000, 1600, 3000
        writing.SYNCING = 1
        if name == "hf small":
            writing.PIECE = 4096
    else:
        writing.PIECE, writing.STRETCH, zarr_store.CHUNK = 1 << 15, 1 << 20, 1 << 17
    recipes = model(name, size)
    (where / "whole").mkdir(parents=True)
    start = time.perf_counter()
    assert wait(in_child(lambda: save(where / "whole" / name, recipes, **options))) == 0
    undisturbed = time.perf_counter() - start
    wanted = contents(where / "whole" / name)
    out = where / "work" / name

    def start_over():
        """What is at `out` before; made by a child, since only a process without threads may fork."""
        assert wait(in_child(lambda: begin(out, before, recipes, options))) == 0
        return contents(out)

    def check(moment):
        """Absent, as it was, or complete; whether it is complete."""
        complete = wanted | {"config.json": b"{}"} if before == "another" and name == "hf" else wanted
        there = contents(out)
        assert there in (None, old, complete), f"neither absent, old nor complete: {moment}"
        return there == complete

    def resume(moment):
        assert wait(in_child(lambda: save(out, recipes, resume=True, **options))) == 0, moment
        assert check(moment), moment
        left = {path.name for path in out.parent.iterdir()} - {name}
        assert not left, (moment, left)

    kills, rng = 0, random.Random(0)
    if how == "step":
        for step in itertools.count(1):
            old = start_over()
            child = in_child(lambda step=step: (kill_at(step), save(out, recipes, **options)))
            if wait(child) == 0:  # there are no more such calls
                break
            kills += 1
            check(step)
            resume(step)
    else:
        old = start_over()
        while kills < 20:
            child = in_child(lambda: save(out, recipes, resume=True, **options))
            time.sleep(rng.uniform(0, undisturbed))
            os.kill(child, signal.SIGKILL)
            killed = wait(child) != 0
            kills += killed
            if check(kills) and not killed:
                old = start_over()
        resume(kills)
    print(kills)


def begin(out, before, recipes, options):
    def stop(done, total):
        if done > 0.7 * total:
            raise InterruptedError

    shutil.rmtree(out.parent, ignore_errors=True)
    out.parent.mkdir()
    if before == "interrupted":
        with contextlib.suppress(InterruptedError):
            save(out, recipes, progress=stop, **options)
    if before == "another":
        save(out, {"old": fi.recipe("ones", (300,), seed=0, name="old")}, **options)
        if out.name == "hf":
            (out / "config.json").write_text("{}")


if __name__ == "__main__":
    main(*sys.argv[1:])
