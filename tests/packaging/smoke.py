"""An installed package works: values, threads, files, the command; and it is the one that was meant."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import fastinit as fi

place = os.environ.get("FASTINIT_PLACE", sys.prefix)
assert fi.__file__.startswith(place), fi.__file__
assert sys.float_info.min / 2 > 0, "denormal numbers are off"
assert np.float32(1e-38) / np.float32(100) > 0, "denormal numbers are off"

w = np.empty((1000, 600), np.float32)
fi.he_normal(w, seed=0, name="w", threads=2)
assert (w == fi.he_normal(w.shape, seed=0, name="w", threads=1)).all()
assert (w[700:] == fi.recipe("he_normal", w.shape, seed=0, name="w")[700:]).all()
q = fi.orthogonal((64, 64), seed=0)
assert abs(q @ q.T - np.eye(64)).max() < 1e-5
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "w.npy"
    fi.checkpoint.save(path, fi.recipe("he_normal", w.shape, seed=0, name="w"))
    assert (np.load(path) == w).all()
for source in ("_kernels.pxd", "kernels.pxd", "py.typed"):
    assert (Path(fi.__file__).parent / source).is_file(), source
done = subprocess.run([sys.executable, "-m", "fastinit", "info"], capture_output=True, text=True, check=False)
assert "Traceback" not in done.stderr, done.stderr
print(f"fastinit {fi.__version__} works: {fi._kernels.isa()}, {fi.get_num_threads()} threads")
