"""fastinit.jax.init over eight devices needs little more memory than what it makes; recipes need none of it."""

import subprocess
import sys
from pathlib import Path

import pytest

#: The peak of the process's memory above what it had before, over what is made, in MiB.
PROGRAM = """
import os, re, sys
os.environ["XLA_FLAGS"], os.environ["JAX_PLATFORMS"] = "--xla_force_host_platform_device_count=8", "cpu"
import jax, jax.numpy as jnp
import fastinit.jax as init
from jax.sharding import NamedSharding, PartitionSpec

make, key = init.lecun_normal(), jax.random.key(0)
fn = lambda key: jax.vmap(lambda key: make(key, (2048, 2048)))(jax.random.split(key, 16))  # 256 MiB
sharding = NamedSharding(jax.make_mesh((8,), ("x",)), PartitionSpec(None, "x"))
init.init(lambda key: make(key, (64, 64)), key, out_shardings=NamedSharding(sharding.mesh, PartitionSpec("x")))

def status(field):
    return int(re.search(field + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

before = status("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
made = init.init(fn, key, out_shardings=sharding, strict=True) if sys.argv[1] == "init" else init.recipes(fn, key)
jax.block_until_ready(made) if sys.argv[1] == "init" else None
print(status("VmHWM") - before, made.nbytes / 2**20)
"""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak of a process's memory is read as Linux has it"
)
@pytest.mark.parametrize(("what", "share"), [("init", 1.1), ("recipes", 0.1)])
def test_memory(what, share):
    run = subprocess.run([sys.executable, "-c", PROGRAM, what], capture_output=True, text=True, check=True)
    peak, size = map(float, run.stdout.split())
    assert size == 256
    assert peak < share * size
