"""The fixtures of all benchmarks. Contestants of a job take turns ("laps"), so that a slow minute meets them all."""

import pytest

import fastinit as fi
import peers
from results import Results
from scale import QUICK, size

RESULTS = Results()
PEERS = peers.installed()


def pytest_generate_tests(metafunc):
    """`peer`: every contestant that is installed."""
    if "peer" in metafunc.fixturenames:
        metafunc.parametrize("peer", PEERS.values(), ids=PEERS)


@pytest.fixture
def measure(benchmark, request):
    """Times one turn of one contestant: `measure(job, contestant, function, work, unit)`.

    `work` is what a call of `function` does, in `unit`s: bytes written, operations, elements. The first contestant
    of a job is ours; the others are compared with it.
    """

    def run(job, contestant, function, work, unit="B", rounds=3, warm=True, setup=None, calls=1):
        def repeated():
            for _ in range(calls):
                function()

        benchmark.pedantic(
            function if calls == 1 else repeated,
            setup=setup,
            rounds=1 if QUICK else rounds,
            warmup_rounds=0 if QUICK or not warm else 1,
        )
        subject = request.module.__name__.removeprefix("test_")
        lap = request.node.callspec.params["lap"] if hasattr(request.node, "callspec") else 0
        if benchmark.stats:
            RESULTS.add(subject, job, contestant, lap, list(benchmark.stats.stats.data), work * calls, unit)

    return run


@pytest.fixture(scope="session")
def memory():
    """1 GiB whose pages are there; the caches hold little of it."""
    return fi.zeros(size(1 << 28, 1 << 28, 1 << 20))


@pytest.fixture(scope="session")
def threads():
    """As many as this process may use."""
    return fi.get_num_threads()


def pytest_terminal_summary(terminalreporter):
    if not RESULTS.subjects:
        return
    for line in RESULTS.lines():
        terminalreporter.write_line(line)
    if not QUICK:
        terminalreporter.write_line(f"\nwritten to {RESULTS.write()}")
