"""Every job with its peers in one group and one run; the summary divides their medians.

Absolute times mean nothing on a shared machine and are not quoted; ratios of one run are.
"""

import os

import pytest
from quick import QUICK

#: (job, peer): the least ratio of speeds, ours over the peer's, and the aim where there is one
FLOORS = {
    ("uniform", "constant fill"): (0.5, 0.7),
    ("uniform", "randompack"): (0.9, None),
    ("uniform", "torch"): (11, None),
    ("normal", "constant fill"): (0.25, 0.4),
    ("normal", "randompack"): (2.5, None),
    ("normal", "torch"): (9, None),
    ("normal", "numpy sfc64"): (12, None),
    ("truncated +-2", "torch"): (150, None),
    ("truncated +-3", "torch"): (25, None),
    ("truncated beyond 4", "torch"): (25, None),
    ("bfloat16 normal", "torch"): (12, None),
    ("normal, 2 threads", "1 thread"): (1.7, None),
    ("uniform, 2 threads", "1 thread"): (1.7, None),
    ("orthogonal 1024 x 1024", "torch"): (2, 3),
    ("orthogonal 2048 x 2048", "torch"): (2.4, 3.3),
    ("orthogonal 4096 x 4096", "torch"): (2.2, 3),
    ("orthogonal 65536 x 512", "torch"): (3.5, 5),
    ("product 4096^3", "scipy sgemm"): (0.8, 0.95),
    ("orthogonal 4096, flops", "our product"): (None, 0.8),
    **{("write 4 GiB to " + place, "constants, same way"): (0.7, None) for place in ("memory", "disk")},
    **{("write 4 GiB to " + place, "numpy, save_file"): (8, None) for place in ("memory", "disk")},
    ("verify 50,000 tensors", "load_file, compare"): (0.3, None),
    ("write 2,000 shards", "save_file, synced"): (1, None),
    ("16 elements", "numpy"): (0.1, None),
    ("16 elements, recipe at hand", "numpy"): (0.1, None),
}

#: Lines of the summary that are no speeds
NOTES = []

#: Seconds an element at most, where that is what was asked for (issue 3: a row)
SLOWEST = {"100 rows of 65536 x 4096": 0.5e-3}


@pytest.fixture
def measure(benchmark, request):
    """Times one contestant of a job: `measure(job, who, function, elements)`."""

    def run(job, who, function, elements, rounds=7, setup=None):
        benchmark.group = job
        benchmark.name = who
        benchmark.extra_info["elements"] = elements
        benchmark.pedantic(function, setup=setup, rounds=1 if QUICK else rounds, warmup_rounds=0 if QUICK else 1)

    return run


@pytest.fixture
def note():
    """Adds a line to the summary."""
    return NOTES.append


def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    if session is None or not session.benchmarks:
        return
    jobs = {}
    for bench in (b for b in session.benchmarks if b.stats.data):  # those that ran
        jobs.setdefault(bench.group, {})[bench.name] = bench.extra_info["elements"] / bench.stats.median
    write = terminalreporter.write_line
    write("")
    if QUICK:
        write("QUICK: every benchmark ran once, on little; these figures mean nothing")
    for line in NOTES:
        write(line)
    write(f"Speed, ours over the peer's, medians of one run; {len(os.sched_getaffinity(0))} CPUs")
    write(f"{'job':<34}{'peer':<22}{'ratio':>8}{'floor':>8}{'aim':>6}")
    for job, rates in jobs.items():
        if "fastinit" not in rates:
            continue
        for who, rate in rates.items():
            if who == "fastinit":
                continue
            ratio = rates["fastinit"] / rate
            floor, aim = FLOORS.get((job, who), (None, None))
            verdict = "" if floor is None or ratio >= floor else "  MISSED"
            write(f"{job:<34}{who:<22}{ratio:>8.2f}{floor or '':>8}{aim or '':>6}{verdict}")
        if job in SLOWEST:
            seconds = 1 / rates["fastinit"]
            verdict = "" if seconds <= SLOWEST[job] else "  MISSED"
            write(f"{job:<34}{'each, at most ' + str(SLOWEST[job] * 1e3) + ' ms':<22}{seconds * 1e3:>5.2f} ms{verdict}")
