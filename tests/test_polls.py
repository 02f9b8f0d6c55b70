"""How long a signal waits: the work between two looks for one is bounded, whatever the shapes; no time is measured."""

import os
import subprocess
from pathlib import Path

import pytest

CORE = Path(__file__).parent.parent / "src" / "fastinit" / "csrc"


@pytest.fixture(scope="module")
def stretches(tmp_path_factory):
    """Of each job, the longest stretch: in milliseconds of work of the slowest instruction set, or in elements."""
    program = tmp_path_factory.mktemp("polls") / "polls"
    sources = [
        Path(__file__).with_name("polls.c"),
        *(
            CORE / f"{name}.c"
            for name in ("steps", "product", "matrix", "elementwise", "tiles", "stages", "parallel", "team")
        ),
    ]
    flags = ["-std=gnu11", "-O1", "-Dclock_gettime=fake_clock", f"-I{CORE}", "-o", program]
    subprocess.run([*os.environ.get("CC", "cc").split(), *flags, *sources, "-lm", "-lpthread"], check=True)
    lines = subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines()
    return [(line.split()[0], int(line.split()[1])) for line in lines]


def test_products(stretches):
    found = dict(stretches[:6])
    assert list(found) == ["gram", "factor", "update", "projection", "row", "many"]
    assert max(found.values()) < 60, found


def test_elementwise(stretches):
    assert len(stretches[6:]) == 6
    for job, elements in stretches[6:]:
        assert elements <= 70_000, job
