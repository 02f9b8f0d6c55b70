"""Orthogonal matrices are Haar-distributed, on both routes; and the statistics see it where they are not."""

import functools
import math

import numpy as np
import pytest
from scipy import stats

from test_orthogonal import drawn, gaussian

#: Each test fails below it; 77 p-values, so one false alarm in 1,300 choices of the seeds. They are fixed.
ALARM = 1e-5
SAMPLES = 4000


@functools.cache
def sample(shape, dtype="float32"):
    return np.stack([drawn(shape, dtype, seed=seed).astype(np.float64) for seed in range(SAMPLES)])


def p_of_mean(values, expected):
    z = (values.mean() - expected) / (values.std() / math.sqrt(len(values)))
    return 2 * stats.norm.sf(abs(z))


def p_of_traces(q):
    """Moments of the trace over O(n), n >= 2: 0, 1 and 3 (Diaconis and Shahshahani 1994)."""
    trace = np.trace(q, axis1=1, axis2=2)
    return [p_of_mean(trace**power, expected) for power, expected in [(1, 0), (2, 1), (4, 3)]]


def p_of_determinants(q):
    return stats.binomtest(int((np.linalg.det(q) > 0).sum()), len(q)).pvalue


def p_of_entries(q, at):
    """An entry of a unit vector of n elements: sign times the root of Beta(1/2, (n - 1)/2)."""
    n = max(q.shape[1:])
    entries = q[:, *at]
    law = stats.beta(0.5, (n - 1) / 2)
    return [
        stats.kstest(entries**2, law.cdf).pvalue,
        stats.binomtest(int((entries > 0).sum()), len(entries)).pvalue,
    ]


@pytest.mark.parametrize("n", [2, 3, 6])
def test_traces_and_determinants(n):
    assert min(p_of_traces(sample((n, n)))) > ALARM
    assert p_of_determinants(sample((n, n))) > ALARM


@pytest.mark.parametrize("shape", [(2, 2), (5, 5), (6, 3), (3, 6), (16, 2), (2, 16), (24, 3)])
def test_entries_and_blocks(shape):
    q = sample(shape)
    for at in {(0, 0), (shape[0] - 1, shape[1] - 1), (shape[0] // 2, 0)}:
        assert min(p_of_entries(q, at)) > ALARM
    # products of entries of one row or one column have mean 0, squares 1/n
    n = max(shape)
    assert p_of_mean(q[:, 0, 0] * q[:, -1, 0], 0) > ALARM
    assert p_of_mean(q[:, 0, 0] * q[:, 0, -1], 0) > ALARM
    assert p_of_mean(q[:, -1, -1] ** 2, 1 / n) > ALARM


@pytest.mark.parametrize("shape", [(8, 4), (32, 4)])
def test_squares_of_minors(shape):
    """The top square block of a Haar matrix: E det^2 = 1 / binomial(m, n) on either route."""
    q = sample(shape)[:, : shape[1]]
    assert p_of_mean(np.linalg.det(q) ** 2, 1 / math.comb(*shape)) > ALARM


def test_these_tests_see_a_missing_sign():
    """Without the sign of R's diagonal, or with a column's factor left out, the same statistics raise the alarm."""
    random = np.random.default_rng(0)
    plain = np.stack([np.linalg.qr(random.standard_normal((3, 3)))[0] for _ in range(SAMPLES)])
    assert min(p_of_traces(plain)) < ALARM
    q = sample((3, 3))
    g = np.stack([gaussian((3, 3), seed=seed) for seed in range(SAMPLES)])
    x0 = g[:, 0, 0]
    unsigned = q.copy()
    unsigned[:, :, 0] *= -np.where(x0 >= 0, 1, -1)[:, None]  # H's own column
    assert min(*p_of_traces(unsigned), *p_of_entries(unsigned, (0, 0))) < ALARM
