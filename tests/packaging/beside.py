"""fastinit beside torch, NumPy and SciPy in one process, whoever is imported first: everybody's results stay right.

Each brings an OpenMP runtime or a pool of threads of its own.
"""

import itertools
import subprocess
import sys

CODE = """
import importlib, os, sys, threading
for name in sys.argv[1:]:
    importlib.import_module(name)
import numpy as np, scipy.linalg, torch
import fastinit as fi
from threadpoolctl import threadpool_info

fi.set_num_threads(2)
torch.set_num_threads(2)
expected = fi.normal(1 << 20, seed=0, threads=1)
a = np.random.default_rng(0).standard_normal((400, 400))
product = a @ a
wrong = []

def all_of_them():
    for _ in range(10):
        for right in (
            lambda: (fi.normal(1 << 20, seed=0) == expected).all(),
            lambda: np.allclose(torch.from_numpy(a) @ torch.from_numpy(a), product),
            lambda: np.allclose(a @ a, product),
            lambda: np.allclose(scipy.linalg.blas.dgemm(1.0, a, a), product),
            lambda: torch.ones(1 << 20).sum() == 1 << 20,
        ):
            if not right():
                wrong.append(right)

all_of_them()
threads = [threading.Thread(target=all_of_them) for _ in range(3)]
[t.start() for t in threads]
[t.join() for t in threads]
child = os.fork()
if child == 0:
    os._exit(0 if (fi.normal(1 << 20, seed=0) == expected).all() else 1)
assert os.waitpid(child, 0)[1] == 0, "a forked child"
assert not wrong, wrong
runtimes = sorted({os.path.basename(i["filepath"]) for i in threadpool_info()})
print(", ".join(sys.argv[1:]), "in this order:", ", ".join(runtimes))
"""
for order in itertools.permutations(["fastinit", "torch", "scipy.linalg"]):
    subprocess.run([sys.executable, "-c", CODE, *order], check=True, timeout=300)
