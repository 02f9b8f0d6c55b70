"""What a recording needs: no memory for the tensors, and no look at it by anybody."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MIB = 1 << 20

BEGIN = f"""
import faulthandler, os, resource, sys, warnings
faulthandler.enable()
warnings.simplefilter("ignore")
sys.path.insert(0, {str(HERE)!r})
import conftest, torch, transformers
import fastinit.torch as ft, plain_modules, timm_models, transformers_models

def status(key):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(key))
"""


def in_a_child(program):
    return subprocess.run([sys.executable, "-c", BEGIN + program], capture_output=True, text=True, cwd=HERE)


# ---- memory -----------------------------------------------------------------------------------------------------

# 46 billion parameters, of which a first small model keeps out what is imported and compiled once
MIXTRAL = """
from transformers import MixtralConfig, MixtralForCausalLM

def small():
    return transformers_models.build("MixtralForCausalLM")

def large():
    return MixtralForCausalLM(MixtralConfig())
"""

ON_META = """
with torch.device("meta"):
    small()
    peak, data = status("VmHWM"), status("VmData")
    model = large()
print(status("VmHWM") - peak, status("VmData") - data, sum(p.numel() for p in model.parameters()))
"""

# VmData counts what may be written to, which is what a system sets aside that does not overcommit
RECORDED = """
def record(build):
    with ft.record(seed=0) as recording:
        model = build()
    return model, recording, recording.recipes(model), str(recording.report(model))

small_one, recording, *_ = record(small)
recording.fill_(small_one)
peak, limit = status("VmHWM"), status("VmData") + {data}
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
model, recording, recipes, report = record(large)
print(status("VmHWM") - peak, len(recipes), sum(recipe.size for recipe in recipes.values()))
"""


@pytest.mark.limits_memory
def test_a_model_of_46_billion_parameters_takes_64_mib_above_its_modules():
    """Its recipes and report included; also where the system sets aside all memory that it promises."""
    run = in_a_child(MIXTRAL + ON_META)
    assert run.returncode == 0, run.stderr
    peak, data, parameters = map(int, run.stdout.split())
    assert parameters > 46e9

    run = in_a_child(MIXTRAL + RECORDED.format(data=data + 64 * MIB))
    assert run.returncode == 0, run.stderr
    taken, tensors, elements = map(int, run.stdout.split())
    assert elements == parameters
    assert tensors > 200
    assert taken - peak < 64 * MIB


# ---- silent reads: the pages of what is recorded cannot be read -------------------------------------------------

RECORD = """
for build in [{builds}]:
    with ft.record(seed=0) as recording:
        model = build()
    recording.recipes(model)
print("nobody looked")
"""


@pytest.mark.parametrize(
    "builds",
    [
        "*plain_modules.MODULES.values(), *plain_modules.TITAN.values()",
        "*(lambda n=n: transformers_models.build(n) for n in transformers_models.USUAL)",
    ],
    ids=["modules", "transformers"],
)
def test_nothing_reads_what_has_not_been_made(builds):
    run = in_a_child(RECORD.format(builds=builds))
    assert run.stdout.endswith("nobody looked\n"), run.stderr


def test_a_silent_read_would_end_the_process():
    """Otherwise the test above could not fail."""
    run = in_a_child(
        """
import ctypes
with ft.record(seed=0):
    weight = torch.nn.Linear(64, 64).weight
    with torch._C.DisableTorchFunction():
        address = weight.data_ptr()
    print(ctypes.string_at(address, 4))
"""
    )
    assert run.returncode == -11, (run.stdout, run.stderr)
    assert "Segmentation fault" in run.stderr
