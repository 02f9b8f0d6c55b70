"""Writing 4 GiB of float32 normals, end to end: from nothing to a file under its name.

Ours syncs what it writes and renames it; safetensors.numpy.save_file does neither, so it is measured with a sync besides.
In memory (tmpfs) the disk does not hide the work; on disk it may.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from quick import size
from safetensors.numpy import save_file

import fastinit as fi

SHAPE, COUNT = size((1 << 14, 1 << 14), (1 << 9, 1 << 9)), 4  # of 1 GiB
ELEMENTS = COUNT * SHAPE[0] * SHAPE[1]

pytestmark = pytest.mark.timeout(3000)


@pytest.fixture(params=["memory", "disk"])
def place(request, tmp_path):
    """Where the file goes: its path, and the name of the job."""
    folder = Path("/dev/shm") if request.param == "memory" else tmp_path
    path = folder / f"fastinit-{os.getpid()}.safetensors"
    yield path, f"write 4 GiB to {request.param}"
    path.unlink(missing_ok=True)


def afresh(path, function):
    """Each round writes a new file, on a disk with nothing left to do."""

    def prepare():
        path.unlink(missing_ok=True)
        os.sync()

    return {"function": function, "setup": prepare}


def ours(path, kind, **parameters):
    recipes = {f"w{i}": fi.recipe(kind, SHAPE, seed=0, name=f"w{i}", **parameters) for i in range(COUNT)}
    fi.checkpoint.save(path, recipes)


def numpys(path):
    rng = np.random.default_rng(0)
    save_file({f"w{i}": rng.standard_normal(SHAPE, np.float32) * np.float32(0.02) for i in range(COUNT)}, path)


def synced(path):
    numpys(path)
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def test_fastinit(measure, place):
    path, job = place
    measure(job, "fastinit", **afresh(path, lambda: ours(path, "normal", std=0.02)), elements=ELEMENTS, rounds=5)


def test_constants_the_same_way(measure, place):
    path, job = place
    measure(
        job,
        "constants, same way",
        **afresh(path, lambda: ours(path, "constant", value=0.5)),
        elements=ELEMENTS,
        rounds=5,
    )


def test_numpy_and_save_file(measure, place):
    path, job = place
    measure(job, "numpy, save_file", **afresh(path, lambda: numpys(path)), elements=ELEMENTS, rounds=3)


def test_numpy_and_save_file_and_sync(measure, place):
    path, job = place
    measure(job, "the same, synced", **afresh(path, lambda: synced(path)), elements=ELEMENTS, rounds=3)


def test_peak_memory(note, tmp_path):
    """Of the whole process, by VmHWM."""
    peaks = {}
    for who in ("ours", "numpys"):
        script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_checkpoint
from pathlib import Path
test_checkpoint.{who}(Path({str(tmp_path / who)!r} + ".safetensors"), *{("normal",) if who == "ours" else ()!r})
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        peaks[who] = int(done.stdout) / 1024
        (tmp_path / f"{who}.safetensors").unlink()
    ratio = peaks["ours"] / peaks["numpys"]
    note(
        f"peak memory of writing 4 GiB: fastinit {peaks['ours']:.0f} MiB, numpy and save_file {peaks['numpys']:.0f} MiB: "
        f"{ratio:.3f} (at most 0.1){'' if ratio <= 0.1 else '  MISSED'}"
    )
