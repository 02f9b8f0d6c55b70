"""Writing float32 normals, end to end: from nothing to a file under its name, in memory (tmpfs) and on disk.

Ours syncs what it writes and renames it; safetensors.numpy.save_file does neither, so it is measured with a sync besides.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import fastinit as fi
from scale import laps, size

ROWS, COUNT = size(1 << 14, 1 << 12, 1 << 9), 4  # squares: of 1 GiB, or 64 MiB
SHAPE = (ROWS, ROWS)
NBYTES = COUNT * ROWS * ROWS * 4
AMOUNT = size("4 GiB", "256 MiB", "4 MiB")

pytestmark = pytest.mark.timeout(3000)


def ours(path, kind="normal", **parameters):
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


CONTESTANTS = {
    "fastinit": lambda path: ours(path, std=0.02),
    "constants, the same way": lambda path: ours(path, "constant", value=0.5),
    "NumPy, save_file": numpys,
    "NumPy, save_file, fsync": synced,
}


@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize("lap", range(laps(3, 3)))
@pytest.mark.parametrize("place", ["memory", "disk"])
def test_write(measure, tmp_path, place, lap, contestant):
    path = (Path("/dev/shm") if place == "memory" else tmp_path) / f"fastinit-{os.getpid()}.safetensors"

    def afresh():
        path.unlink(missing_ok=True)
        os.sync()

    write = CONTESTANTS[contestant]
    try:
        measure(f"{AMOUNT} to {place}", contestant, lambda: write(path), NBYTES, rounds=1, warm=False, setup=afresh)
    finally:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("who", ["ours", "numpys"])
def test_peak_memory(who, tmp_path, record_property, capsys):
    """Of the whole process, by VmHWM: printed, since it is no speed."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_checkpoint
test_checkpoint.{who}(test_checkpoint.Path({str(tmp_path / who)!r} + ".safetensors"))
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    with capsys.disabled():
        print(f"\npeak memory of a process that writes {AMOUNT}, {who}: {int(done.stdout) / 1024:.0f} MiB")
