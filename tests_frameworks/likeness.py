"""Whether models that were recorded and filled are like those that torch itself initialises.

Each model is built `RUNS` times in both ways, every time with another seed. An element that is equal in all of torch's
runs counts as fixed (two random float32 are equal once in 2^24, so all of them once in 2^48), any other as random. A
value that many random elements share, such as the bounds of a clamp or the zeros of a sparse tensor, makes none fixed.

Exact: names, shapes, dtypes, strides and gradients' flags of parameters and buffers, what shares memory, every bit of
what is fixed, which elements are random, which tensors are copies of one another.

By tests, for each random tensor and for each quarter of it along its first and its last axis, where that has 64 random
elements:

- the distribution, by the two-sample test of Kolmogorov and Smirnov;
- the mean, by Welch's; the standard deviation, by the logarithms of both variances, whose error follows from the
  fourth moments;
- the share of each value that many random elements have, by Fisher's exact test;
- the ends: were both samples of one distribution, each element that lies beyond the other sample's end would be one of
  ours or torch's with the same chance, so the number of them is known (`beyond`).

Each finds a difference where its p-value is below `ALARM` divided by the number of tests in the model. So one sound
model in 10^7 gives a false alarm, were the tests exact and elements independent. Orthogonal matrices' elements are not,
and vary less than that. Seeds are fixed, so a test that passes goes on to pass.

Tensors of 256 random elements or more must also be unrelated: |r| sqrt(n) below 8 between any two that torch draws
apart, which is a p-value of 1e-15.
"""

import numpy as np
import torch
from scipy import stats

from conftest import bits

RUNS = 3
ALARM = 1e-7
FEW = 64  # random elements, below which nothing is tested by statistics
MANY = 5_000  # elements, of which evenly spaced ones are taken
PREFIX = 256  # elements by which two tensors are found to be related


def tensors(model):
    """Every parameter and buffer by name, those that are tied under each of their names."""
    found = dict(model.named_parameters(remove_duplicate=False))
    return found | dict(model.named_buffers(remove_duplicate=False))


def form(model):
    """What must be equal whatever the values are."""
    persistent = set(model.state_dict())
    return {
        name: (type(t).__name__, tuple(t.shape), t.dtype, t.stride(), t.requires_grad, t.is_leaf, name in persistent)
        for name, t in tensors(model).items()
    }


def ties(model):
    """Groups of names whose tensors begin at the same address."""
    groups = {}
    for name, tensor in tensors(model).items():
        if tensor.numel():
            groups.setdefault(tensor.data_ptr(), set()).add(name)
    return {frozenset(group) for group in groups.values() if len(group) > 1}


def values(model):
    """Every tensor as a NumPy array of its own; 16-bit floats widened."""
    arrays = {}
    for name, tensor in tensors(model).items():
        tensor = tensor.detach()
        if tensor.dtype in (torch.bfloat16, torch.float16):
            tensor = tensor.float()
        arrays[name] = tensor.numpy().copy()
    return arrays


def first_of_ties(model):
    """The names of all tensors, of tied ones the first alone."""
    seen = {}
    for name, tensor in tensors(model).items():
        seen.setdefault((tensor.data_ptr() if tensor.numel() else name), name)
    return list(seen.values())


# ---- statistics -------------------------------------------------------------------------------------------------


def beyond(ours, theirs):
    """The p-value of how many of one sample lie beyond the other's ends, the least of both ends and both samples."""
    least = 1.0
    share = np.log2((len(ours) + len(theirs)) / np.array([len(ours), len(theirs)]))
    for a, b in ((ours, theirs), (-ours, -theirs)):
        outside = np.array([np.count_nonzero(a > b.max()), np.count_nonzero(b > a.max())])
        least = min(least, *2.0 ** -(share * outside))
    return min(1.0, 4 * least)


def compared(ours, theirs):
    """p-values of the tests of two samples, by what they test."""
    n, m = len(ours), len(theirs)
    a, b = ours.var(), theirs.var()
    if not (np.isfinite(a) and np.isfinite(b) and a > 0 and b > 0):
        return {"values that are finite": 0.0}
    error = 0.0
    for sample, variance in ((ours, a), (theirs, b)):
        squares = np.square(sample - sample.mean())
        fourth = np.mean(squares * squares) / variance**2
        error += max(fourth - 1, 2 / len(sample)) / len(sample)
    return {
        "distribution": stats.ks_2samp(ours, theirs, method="asymp").pvalue,
        "mean": 2 * stats.norm.sf(abs(ours.mean() - theirs.mean()) / np.sqrt(a / n + b / m)),
        "standard deviation": 2 * stats.norm.sf(abs(np.log(a / b)) / np.sqrt(error)),
        "ends": beyond(ours, theirs),
    }


def thinned(array):
    """About `MANY` elements at equal distances, or all."""
    return array.reshape(-1)[:: array.size // MANY | 1]  # odd, or a column of some matrices would be all that is left


def atoms(arrays):
    """The values that in every run one in a hundred of the elements has that differ between runs, eight at least."""
    arrays = [thinned(array) for array in arrays]
    varying = np.logical_or.reduce([arrays[0] != other for other in arrays[1:]])
    common = None
    for array in arrays:
        found, counts = np.unique(array[varying], return_counts=True)
        frequent = found[counts > max(8, np.count_nonzero(varying) / 100)]
        common = frequent if common is None else np.intersect1d(common, frequent)
    return common


def sample(arrays, where, at=...):
    """The random elements of all runs, where most are repetitions each value of a run once; how many are different."""
    mask = thinned(where[at])
    samples = [thinned(array[at])[mask].astype("f8") for array in arrays]
    distinct = [np.unique(values) for values in samples]
    repeated = sum(map(len, distinct)) < sum(map(len, samples)) / 2
    return np.concatenate(distinct if repeated else samples), sum(map(len, distinct))


def shares(ours, theirs, value):
    """The p-value of how many elements of two samples have this value."""
    table = [[np.count_nonzero(values == value), np.count_nonzero(values != value)] for values in (ours, theirs)]
    return stats.fisher_exact(table).pvalue


def regions(shape):
    """The whole, and quarters along the first and the last axis."""
    yield ...
    for axis in sorted({0, len(shape) - 1} if shape else ()):
        parts = min(4, shape[axis])
        if parts > 1:
            edges = [shape[axis] * i // parts for i in range(parts + 1)]
            for low, high in zip(edges, edges[1:]):
                yield (slice(None),) * axis + (slice(low, high),)


def related(arrays, where):
    """Pairs of names whose random elements go together, and how."""
    names = [n for n, mask in where.items() if arrays[n].dtype.kind == "f" and np.count_nonzero(mask) >= PREFIX]
    if len(names) < 2:
        return set()
    rows = np.stack([arrays[n][where[n]][:PREFIX].astype("f8") for n in names])
    rows -= rows.mean(1, keepdims=True)
    rows /= np.maximum(np.sqrt((rows**2).mean(1, keepdims=True)), 1e-300)
    strong = np.abs(np.triu(rows @ rows.T, 1)) / np.sqrt(PREFIX) > 8
    return {(names[i], names[j]) for i, j in np.argwhere(strong)}


# ---- all together -----------------------------------------------------------------------------------------------


def differences(ours, theirs):
    """What tells recorded models, `RUNS` of them, from plain ones: sentences, none where nothing does."""
    told = [sentence for model in ours for sentence in other_forms(model, theirs[0])]
    if told:
        return told
    names = first_of_ties(theirs[0])
    theirs, ours = [values(model) for model in theirs], [values(model) for model in ours]
    random, tests = {}, []
    for name in names:
        our, their = [run[name] for run in ours], [run[name] for run in theirs]
        common = atoms(their)
        fixed = fixed_elements(their, common)
        told += [f"{name}: {sentence}" for sentence in other_values(our, their, fixed, common)]
        if their[0].dtype.kind == "f" and not fixed.all():
            random[name] = ~fixed
            tests += [(p, name, what) for p, what in p_values(our, their, ~fixed, common)]
    told += [f"{name}: another {what}, p = {p:.1e}" for p, name, what in tests if not p >= ALARM / len(tests)]
    expected, seen = related(theirs[0], random), related(ours[0], random)
    return told + [f"{' and '.join(pair)} are {'not ' if pair in expected else ''}related" for pair in expected ^ seen]


def other_forms(ours, theirs):
    expected, seen = form(theirs), form(ours)
    for name in expected.keys() | seen.keys():
        if expected.get(name) != seen.get(name):
            yield f"{name} is {seen.get(name)} and not {expected.get(name)}"
    if ties(ours) != ties(theirs):
        yield f"tied are {ties(ours)} and not {ties(theirs)}"


def fixed_elements(theirs, common):
    first, *others = theirs
    same = np.logical_and.reduce([(first == other) | ((first != first) & (other != other)) for other in others])
    return same & ~np.isin(first, common) if common.size else same


def other_values(ours, theirs, fixed, common):
    """What differs without a doubt: fixed elements, and which elements are random."""
    # by their bits, unless zeros have random signs
    view = bits if all(np.array_equal(bits(theirs[0])[fixed], bits(other)[fixed]) for other in theirs) else np.asarray
    if not all(np.array_equal(view(array)[fixed], view(theirs[0])[fixed]) for array in ours):
        yield "fixed elements differ"
    if fixed.all():
        return
    if theirs[0].dtype.kind == "f":
        stuck = np.logical_and.reduce([ours[0] == other for other in ours[1:]]) & ~fixed & ~np.isin(ours[0], common)
        if stuck.any():
            yield f"{np.count_nonzero(stuck)} elements vary with torch's seed, not with ours"
        if not all(np.isfinite(array).all() for array in ours):
            yield "values that are not finite"
    else:
        ordered = [np.sort(array, None) for array in (*theirs, *ours)]
        if np.array_equal(ordered[0], ordered[1]) and not all(np.array_equal(ordered[0], o) for o in ordered):
            yield "no permutation of the same integers"


def p_values(ours, theirs, random, common):
    """The p-value of each test of a tensor, and what it has tested."""
    where = thinned(random)
    for value in common:
        pair = (np.stack([thinned(array)[where] for array in runs]) for runs in (ours, theirs))
        yield shares(*pair, value), f"share of {value:g}"
    for region in regions(random.shape):
        if np.count_nonzero(thinned(random[region])) >= FEW:
            (a, distinct), (b, expected) = (sample(arrays, random, region) for arrays in (ours, theirs))
            if not 0.9 < distinct / expected < 1.1:
                yield 0.0, f"number of different values{described(region)}, {distinct} for {expected}"
            elif min(len(a), len(b)) >= FEW:
                for what, p in compared(a, b).items():
                    yield p, what + described(region)


def described(region):
    if region is ...:
        return ""
    return " of [" + ", ".join(":" if s == slice(None) else f"{s.start}:{s.stop}" for s in region) + "]"
