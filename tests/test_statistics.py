"""Distributions, with fixed seeds.

Each test computes a p-value under the hypothesis that the values are what they claim to be, and fails below ALARM.
303 of them with ALARM = 1e-5: a correct stream would raise one false alarm in 330 choices of the seeds. The
seeds are fixed, so a pass stays a pass until values change.
"""

import numpy as np
import pytest
from scipy import stats

import fastinit as fi

ALARM = 1e-5
N = 1 << 20

CASES = {
    "uniform": (fi.init("uniform"), stats.uniform()),
    "normal": (fi.init("normal"), stats.norm()),
    "truncated": (fi.init("truncated_normal"), stats.truncnorm(-2, 2)),
    "one-sided": (fi.init("truncated_normal", lower=-0.5, upper=np.inf), stats.truncnorm(-0.5, np.inf)),
    "tail": (fi.init("truncated_normal", lower=3.5, upper=6), stats.truncnorm(3.5, 6)),
}


def drawn(case, dtype="float32", seed=1, n=N):
    return fi.recipe(CASES[case][0], n, dtype=dtype, seed=seed, name=f"statistics of {case}")[...].astype(np.float64)


def two_sided(z):
    return 2 * stats.norm.sf(abs(z))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_chi_squared_on_equiprobable_bins(case, dtype, seed):
    edges = CASES[case][1].ppf(np.arange(1, 1024) / 1024)
    counts = np.bincount(np.searchsorted(edges, drawn(case, dtype, seed), side="right"), minlength=1024)
    assert stats.chisquare(counts).pvalue > ALARM


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", ["uniform", "normal", "truncated"])
def test_chi_squared_in_the_narrow_dtypes(case, dtype):
    """Bins that end halfway between neighbouring values of the dtype, where rounding moves nothing across."""
    values, law = drawn(case, dtype), CASES[case][1]
    distinct = np.unique(values)
    at = np.unique(np.searchsorted(distinct, law.ppf(np.arange(1, 64) / 64)))
    edges = (distinct[at - 1] + distinct[at]) / 2
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
    assert stats.chisquare(counts, np.diff(law.cdf(edges), prepend=0, append=1) * N).pvalue > ALARM


@pytest.mark.parametrize("order", range(1, 7))
@pytest.mark.parametrize("case", CASES)
def test_moments(case, order):
    values, law = drawn(case), CASES[case][1]
    center = law.mean()
    moment = law.expect(lambda x: (x - center) ** order)
    square = law.expect(lambda x: (x - center) ** (2 * order))
    z = (((values - center) ** order).mean() - moment) / np.sqrt((square - moment**2) / N)
    assert two_sided(z) > ALARM


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("sigmas", [3, 4, 5])
def test_tail_counts(dtype, sigmas):
    """Beyond 5 sigma 2 in 3.5 million are expected: 2^26 values."""
    n, total = 1 << 24, 0
    for seed in range(4):
        values = fi.normal(n, seed=seed, name="tails", dtype=dtype)
        total += int((np.abs(values.astype(np.float32) if dtype == "bfloat16" else values) > sigmas).sum())
    if dtype == "bfloat16":  # larger once rounded: from halfway to the next value on
        sigmas += 2.0 ** (np.floor(np.log2(sigmas)) - 8)
    assert stats.binomtest(total, 4 * n, 2 * stats.norm.sf(sigmas)).pvalue > ALARM


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("lag", [1, 2, 3, 4, 8, 16, 32, 64, 1024, 4096])
@pytest.mark.parametrize("case", ["uniform", "normal", "truncated"])
def test_lag_correlations(case, lag, power):
    """Box-Muller pairs share a radius: lag 1 of the squares is where a wrong pair shows."""
    values = drawn(case, seed=4) ** power
    values = (values - values.mean()) / values.std()
    z = (values[lag:] * values[:-lag]).sum() / np.sqrt(values.size - lag)
    assert two_sided(z) > ALARM


@pytest.mark.parametrize("power", [1, 2])
def test_pair_correlations(power):
    """Elements 2j and 2j + 1 alone, and 2j + 1 and 2j + 2 alone."""
    values = drawn("normal", seed=5) ** power
    values = (values - values.mean()) / values.std()
    for a, b in ((values[::2], values[1::2]), (values[1:-1:2], values[2::2])):
        assert two_sided((a * b).sum() / np.sqrt(len(a))) > ALARM


def test_pairs_have_a_uniform_angle_and_an_exponential_radius():
    values = drawn("normal", seed=6)
    angle = np.arctan2(values[1::2], values[::2]) / (2 * np.pi) + 0.5
    radius = (values[::2] ** 2 + values[1::2] ** 2) / 2
    assert stats.kstest(angle, "uniform").pvalue > ALARM
    assert stats.kstest(radius, "expon").pvalue > ALARM
    rank = stats.spearmanr(angle[:200_000], radius[:200_000])
    assert rank.pvalue > ALARM


def independent(a, b):
    """Whether two arrays of standard normals are uncorrelated, and their squares."""
    for x, y in ((a, b), (a**2 - 1, b**2 - 1)):
        scale = np.sqrt((x**2).mean() * (y**2).mean() * len(x))
        assert two_sided((x * y).sum() / scale) > ALARM


def test_neighbouring_seeds_are_independent():
    tensors = [fi.normal(100_000, seed=s).astype(np.float64) for s in (0, 1, 2, 3, 2**32, 2**64, 2**127)]
    for i, a in enumerate(tensors):
        for b in tensors[:i]:
            independent(a, b)


def test_neighbouring_names_are_independent():
    """Equal seeds, layers that differ in a digit (modalities#426)."""
    tensors = [fi.normal(100_000, seed=0, name=f"layers.{i}.weight").astype(np.float64) for i in range(6)]
    for i, a in enumerate(tensors):
        for b in tensors[:i]:
            independent(a, b)


def test_shards_are_independent():
    r = fi.recipe("normal", (8, 100_000), seed=0, name="shards")
    shards = [r[i].astype(np.float64) for i in range(8)]
    for i, a in enumerate(shards):
        for b in shards[:i]:
            independent(a, b)


def test_first_values_over_many_names_are_normal():
    """The hash, not only the generator: element 0 of 50,000 tensors."""
    firsts = np.array([fi.normal(1, seed=0, name=f"t{i}", threads=1)[0] for i in range(50_000)])
    assert stats.kstest(firsts, "norm").pvalue > ALARM


def test_bits_of_words_are_fair():
    words = fi.philox4x32(np.empty(N, np.uint32), *fi.stream_key(0, "bits"))
    for bit in range(32):
        assert two_sided((2.0 * ((words >> bit) & 1).sum() - N) / np.sqrt(N)) > ALARM


def test_the_tests_have_teeth():
    """A pair that shares its radius between neighbours, a cut at the wrong place, a std off by a percent: all caught."""
    values = drawn("normal", seed=7)
    bad = values * 1.01
    assert two_sided(((bad**2).mean() - 1) / np.sqrt(2 / N)) < ALARM
    edges = stats.norm.ppf(np.arange(1, 1024) / 1024)
    piled = np.clip(values, -2, 2)
    assert stats.chisquare(np.bincount(np.searchsorted(edges, piled), minlength=1024)).pvalue < ALARM
    shared = values.copy()
    shared[1::2] = np.abs(shared[1::2]) * np.sqrt(np.abs(shared[::2]))
    squares = shared**2
    squares = (squares - squares.mean()) / squares.std()
    assert two_sided((squares[::2] * squares[1::2]).sum() / np.sqrt(N / 2)) < ALARM
