"""Composed tensors: the law against NumPy on whole arrays, the separate parts, far indices."""

import json
import pickle
import tracemalloc

import ml_dtypes  # noqa: F401  (gives NumPy the dtype)
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastinit as fi
from conftest import DTYPES, Guarded, bits
from fastinit import _kernels
from fastinit.kinds import composed, kind, reshaped
from fastinit.kinds.orthogonal import Orthogonal
from test_law import basic_indices, layouts


def a(shape=(4, 6), name="a", **given):
    return fi.recipe("normal", shape, seed=1, name=name, **given)


# ---- the law ---------------------------------------------------------------------------------------------------


def leaves(draw, shape, dtype):
    """A tensor of that shape that is not composed."""
    names = ["uniform", "normal", "normal", "constant", "literal"]
    if len(shape) == 2 and min(shape):
        names += ["eye", "sparse", "orthogonal"]
    if len(shape) > 2 and min(shape):
        names += ["dirac", "orthogonal"]
    name = draw(st.sampled_from(names))
    seed = draw(st.integers(0, 99))
    if name == "literal":
        values = fi.recipe("normal", shape, dtype=dtype, seed=seed, name="literal")[...]
        return fi.literal(values), values
    given = {"constant": {"value": 0.5}, "sparse": {"sparsity": 0.5}}.get(name, {})
    made = fi.recipe(name, shape, dtype=dtype, seed=seed, name=f"leaf{seed}", **given)
    return made, made[...]


def tensors(draw, shape, dtype, depth):
    """A tensor of that shape, composed to that depth or less, and all of its values by NumPy."""
    if shape and max(shape) > 1 and draw(st.integers(0, 5)) == 0:
        return alike(draw, shape, dtype)
    forms = ["leaf"]
    if depth:
        forms += ["transpose", "reshape", "part", "paste"] + ["concatenate", "stack"] * bool(shape)
    form = draw(st.sampled_from(forms))
    if form == "leaf":
        return leaves(draw, shape, dtype)
    if form == "transpose":
        axes = draw(st.permutations(range(len(shape))))
        before = [0] * len(shape)
        for to, axis in enumerate(axes):
            before[axis] = shape[to]
        made, values = tensors(draw, tuple(before), dtype, depth - 1)
        return made.transpose(*axes), values.transpose(axes)
    if form == "reshape":
        made, values = tensors(draw, draw(st.sampled_from(shapes_of(int(np.prod(shape))))), dtype, depth - 1)
        return made.reshape(shape), values.reshape(shape)
    if form == "part":
        larger, index = [], []
        for n in shape:
            step = draw(st.sampled_from([1, 1, 2, -1, -3]))
            start = draw(st.integers(0, 2))
            length = start + (n - 1) * abs(step) + 1 + draw(st.integers(0, 2)) if n else 0
            larger.append(length)
            last = start + (n - 1) * abs(step)
            index.append(slice(start, last + 1, step) if step > 0 else slice(last, start - 1 if start else None, step))
            if n == 0:
                index[-1] = slice(0, 0)
            if draw(st.integers(0, 4)) == 0:
                larger.append(3)
                index.append(draw(st.integers(0, 2)))
        if draw(st.integers(0, 4)) == 0 and 1 in shape:
            at = [k for k, item in enumerate(index) if isinstance(item, slice)][shape.index(1)]
            index[at] = None
            larger.pop(at)
        made, values = tensors(draw, tuple(larger), dtype, depth - 1)
        return made.part(tuple(index)), values[(*index, ...)]
    if form == "paste":
        made, values = tensors(draw, shape, dtype, depth - 1)
        index = tuple(item for item in draw(basic_indices(shape)) if item is not None)
        what, its = tensors(draw, values[index].shape, dtype, depth - 1)
        values = np.array(values)
        values[index] = its
        return fi.paste(made, index, what), values
    axis = draw(st.integers(0, len(shape) - 1))
    if form == "stack" and shape[axis]:
        inner = shape[:axis] + shape[axis + 1 :]
        parts = [tensors(draw, inner, dtype, depth - 1 if shape[axis] < 4 else 0) for _ in range(shape[axis])]
        return fi.stack([made for made, _ in parts], axis), np.stack([values for _, values in parts], axis)
    groups = draw(st.sampled_from([g for g in (1, 2, 3, 4, 5, 6) if shape[axis] % g == 0]))
    lengths, left = [], shape[axis] // groups
    for _ in range(draw(st.integers(0, 2))):
        lengths.append(draw(st.integers(0, left)))
        left -= lengths[-1]
    parts = [tensors(draw, (*shape[:axis], groups * n, *shape[axis + 1 :]), dtype, depth - 1) for n in [*lengths, left]]
    cut = [np.split(values, groups, axis) for _, values in parts]
    values = np.concatenate([piece for pieces in zip(*cut) for piece in pieces], axis)
    return fi.concatenate([made for made, _ in parts], axis - len(shape), groups), values


def alike(draw, shape, dtype):
    """Tensors of one structure that differ in what is drawn, one behind the other or stacked."""
    axis = max(range(len(shape)), key=shape.__getitem__)
    n, groups = draw(
        st.sampled_from([(n, g) for n in (1, 2, 3, 4, 6) for g in (1, 2, 3) if shape[axis] % (n * g) == 0])
    )
    stacking = shape[axis] == n * groups
    inner = shape[:axis] + (() if stacking else (shape[axis] // n,)) + shape[axis + 1 :]
    form = draw(st.sampled_from(["drawn", "transpose", "reshape", "part", "paste", "concatenate", "stack"]))
    n = shape[axis] if stacking else n
    parts = []
    for k in range(n):

        def leaf(shape, name, k=k):
            made = fi.recipe("uniform" if k % 3 else "normal", shape, dtype=dtype, seed=k, name=name)
            return made, made[...]

        made, values = leaf(inner, "a")
        if form == "transpose":
            made, values = leaf(inner[::-1], "a")
            made, values = made.T, values.T
        elif form == "reshape":
            made, values = leaf((1, *inner), "a")
            made, values = made.transpose(range(len(inner) + 1)).reshape(inner), values.reshape(inner)
        elif form == "part":
            made, values = leaf((3, *(2 * m for m in inner)), "a")
            index = (1, *(np.s_[-1:None:-2] for _ in inner))
            made, values = made.part(index), np.asarray(values[index])
        elif form == "paste":
            what, its = leaf(inner[1:], "b")
            if inner and inner[0]:
                made, values = fi.paste(made, 0, what), values.copy()
                values[0] = its
        elif form == "concatenate" and inner:
            other, its = leaf((*inner[:-1], inner[-1] - inner[-1] // 2), "b")
            made, values = leaf((*inner[:-1], inner[-1] // 2), "a")
            made, values = fi.concatenate([made, other], -1), np.concatenate([values, its], -1)
        elif form == "stack" and inner and inner[0] == 2:
            made, values = leaf(inner[1:], "a")
            made, values = fi.stack([made, made]), np.stack([values, values])
        parts.append((made, values))
    if stacking:
        return fi.stack([made for made, _ in parts], axis), np.stack([values for _, values in parts], axis)
    cut = [np.split(values, groups, axis) for _, values in parts]
    values = np.concatenate([piece for pieces in zip(*cut) for piece in pieces], axis)
    return fi.concatenate([made for made, _ in parts], axis, groups), values


def shapes_of(size):
    """Some shapes of that many elements."""
    found = [(size,), (1, size), (size, 1)]
    for n in range(2, 13):
        if size % n == 0:
            found += [(n, size // n), (size // n, n)]
            found += [(n, m, size // n // m) for m in (2, 3, 4) if size // n % m == 0 and size]
    return found


SHAPES = [
    (),
    (1,),
    (7,),
    (12,),
    (24, 6),
    (6, 24),
    (12, 12),
    (4, 6, 5),
    (2, 3, 4, 5),
    (0, 3),
    (36, 1, 3),
    (120,),
    (60, 16),
]


@given(data=st.data(), dtype=st.sampled_from(list(DTYPES)), shape=st.sampled_from(SHAPES), depth=st.integers(1, 4))
@settings(max_examples=1500, deadline=None, derandomize=True)
def test_any_region_rows_layout_threads_and_isa(data, dtype, shape, depth):
    recipe, expected = tensors(data.draw, shape, dtype, depth)
    assert recipe.shape == expected.shape
    index = data.draw(basic_indices(shape), "index")
    region = expected[(*index, ...)] if ... not in index else expected[index]
    place = Guarded(region.shape, dtype, **data.draw(layouts(region.shape), "layout"))
    _kernels.use_isa(data.draw(st.sampled_from(_kernels.usable_isas()), "isa"))
    threads = data.draw(st.sampled_from([1, 2, 3, 7]), "threads")
    with pytest.MonkeyPatch.context() as patch:
        block = data.draw(st.sampled_from([1, 16, 100, 1 << 18]), "block")
        for module in (kind, composed, reshaped):
            patch.setattr(module, "BLOCK", block)
        patch.setattr(reshaped, "COVERED", data.draw(st.sampled_from([1, 4, 4096]), "covered"))
        done = []
        recipe.fill(place.array, index, threads=threads, progress=lambda now, total: done.append((now, total)))
        assert (bits(place.array) == bits(region)).all()
        assert place.untouched()
        assert not done or (done[-1][0] == done[-1][1] and [now for now, _ in done] == sorted(now for now, _ in done))
        if region.ndim and region.shape[0]:
            n = region.shape[0]
            rows = np.array(data.draw(st.lists(st.integers(-n, n - 1), max_size=9), "rows"), np.int64)
            part = recipe.part(index)
            wanted = region[rows]
            place = Guarded(wanted.shape, dtype, **data.draw(layouts(wanted.shape), "layout of rows"))
            part.take(rows, out=place.array, threads=threads)
            assert (bits(place.array) == bits(wanted)).all()
            assert place.untouched()
            assert (bits(part.take(rows[:, None])) == bits(region[rows[:, None]])).all()
    described = json.loads(json.dumps(recipe.to_dict(), allow_nan=False))
    again = fi.Recipe.from_dict(described)
    assert again == recipe
    assert hash(again) == hash(recipe)
    assert again.to_dict() == described
    assert (bits(again[...]) == bits(expected)).all()
    assert pickle.loads(pickle.dumps(recipe)) == recipe


# ---- what models are made of ---------------------------------------------------------------------------------


def drawn(shape, name, **parameters):
    return fi.recipe("he_normal", shape, seed=7, name=name, in_axis=1, out_axis=0, **parameters)


def test_fused_qkv_as_megatron_lays_it_out():
    """Groups of heads: the queries of a group, its key, its value, then the next group."""
    groups, per_group, head, hidden = 4, 3, 8, 32
    q = drawn((groups * per_group * head, hidden), "q")
    k, v = (drawn((groups * head, hidden), name) for name in "kv")
    qkv = fi.concatenate([q, k, v], groups=groups)
    whole = qkv[...].reshape(groups, per_group + 2, head, hidden)
    assert (whole[:, :per_group] == q[...].reshape(groups, per_group, head, hidden)).all()
    assert (whole[:, per_group] == k[...].reshape(groups, head, hidden)).all()
    assert (whole[:, per_group + 1] == v[...].reshape(groups, head, hidden)).all()
    rows = qkv.shape[0] // 2
    assert (qkv[rows:] == whole.reshape(qkv.shape)[rows:]).all()
    assert (qkv[:, 5:9] == whole.reshape(qkv.shape)[:, 5:9]).all()


def test_gate_and_up_together_and_experts_stacked():
    gates = [drawn((24, 16), f"experts.{i}.gate") for i in range(64)]
    ups = [drawn((24, 16), f"experts.{i}.up") for i in range(64)]
    experts = fi.stack([fi.concatenate(pair) for pair in zip(gates, ups)])
    assert experts.shape == (64, 48, 16)
    for i in (0, 5, 63):
        assert (experts[i, :24] == gates[i][...]).all()
        assert (experts[i, 24:] == ups[i][...]).all()
    chosen = experts.take([63, 0, 63])
    assert (chosen[:, 24:] == np.stack([ups[63], ups[0], ups[63]])).all()
    turned = fi.stack([gate.T for gate in gates])
    assert (turned[...] == np.stack([gate[...].T for gate in gates])).all()


def test_a_padding_row_and_a_head_tied_by_transposition():
    table = fi.recipe("normal", (1000, 16), seed=0, name="emb", std=0.02)
    padded = fi.paste(table, np.s_[3], fi.recipe("zeros", (16,), seed=0))
    expected = table[...]
    expected[3] = 0
    assert (padded[...] == expected).all()
    assert (padded.take([3, 2, 3]) == expected[[3, 2, 3]]).all()
    assert (padded[3] == 0).all()
    head = padded.T
    assert head.shape == (16, 1000)
    assert (head[...] == expected.T).all()


def test_far_indices_without_memory():
    side = 1 << 21

    def each(name):
        return fi.recipe("normal", (side, side), seed=0, name=name)

    tracemalloc.start()
    try:
        one, experts = each("e4095"), fi.stack([each(f"e{i}") for i in range(4096)])
        assert experts.size == 1 << 54
        assert (experts[4095, -1, -5:] == one[-1, -5:]).all()
        assert (experts[4094:, 17, :3][1] == one[17, :3]).all()
        assert (experts.T[-1, 3, 4095] == one[3, -1]).all()
        flat = experts.reshape(-1)
        assert (flat[-5:] == one[-1, -5:]).all()
        assert (flat.take([-1, -side]) == [one[-1, -1], one[-1, 0]]).all()
        joined = fi.concatenate([each(f"e{i}") for i in range(4096)], axis=1, groups=1 << 10)
        assert joined.shape == (side, side * 4096)
        piece = side >> 10  # of each expert, in each group
        at = (5 * 4096 + 7) * piece  # group 5, expert 7
        assert (
            joined[9, at - 2 : at + 2]
            == [*experts[6, 9, 6 * piece - 2 : 6 * piece], *experts[7, 9, 5 * piece : 5 * piece + 2]]
        ).all()
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_every_second_row_pasted():
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    pasted = fi.paste(a((9, 3)), np.s_[1:8:2], fi.literal(values))
    expected = a((9, 3))[...]
    expected[1:8:2] = values
    assert (pasted[1:2] == expected[1:2]).all()
    assert (pasted[::-1] == expected[::-1]).all()
    assert (pasted.part(np.s_[2:]).take([1, 5, 0, 3]) == expected[2:][[1, 5, 0, 3]]).all()
    assert (pasted.part(np.s_[::-2]).take([1, 0, 4]) == expected[::-2][[1, 0, 4]]).all()


@pytest.mark.parametrize("length", [1, 3, 4, 31, 500, 600])
@pytest.mark.parametrize("names", ["ab", "abc"])
def test_many_short_pieces_by_several_threads(isa, dtype, length, names):
    """More than a tile of each tensor, whose pieces lie in memory in turns."""
    groups = 40_000 // length
    parts = [fi.recipe("normal", groups * length, dtype=dtype, seed=0, name=name) for name in names]
    uneven = fi.recipe("uniform", groups * 2, dtype=dtype, seed=0, name="uneven")
    for all_parts in (parts, [*parts, uneven]):
        expected = np.concatenate([part[...].reshape(groups, -1) for part in all_parts], axis=1).ravel()
        place = Guarded(expected.shape, dtype)
        fi.concatenate(all_parts, groups=groups).fill(place.array, threads=3)
        assert (bits(place.array) == bits(expected)).all()
        assert place.untouched()


def test_stacks_of_tensors_that_are_nearly_alike():
    cubes = [a((3, 3, 3), name) for name in "ab"]
    turned = [cubes[0].transpose(1, 0, 2), cubes[1].transpose(2, 1, 0)]
    cut = [cubes[0].part(np.s_[:2]), cubes[1].part(np.s_[1:])]
    pasted = [fi.paste(cubes[k], k, a((3, 3), "row")) for k in (0, 1)]
    joined = [fi.concatenate([cubes[k], cubes[1 - k]], axis=1 - k, groups=1).reshape(-1) for k in (0, 1)]
    split = [fi.concatenate([a((n, 2), "x"), a((6 - n, 2), "y")]) for n in (2, 3)]
    mixed = [cubes[0], fi.recipe("orthogonal", (3, 3, 3), seed=0)]
    for parts in (turned, cut, pasted, joined, split, mixed):
        stacked = fi.stack(parts, axis=1)
        assert (bits(stacked[...]) == bits(np.stack([part[...] for part in parts], axis=1))).all()


@pytest.mark.parametrize("block", [1, 100, 1 << 18])
def test_an_orthogonal_piece_is_made_once_however_its_elements_are_asked_for(monkeypatch, block):
    for module in (kind, composed, reshaped):
        monkeypatch.setattr(module, "BLOCK", block)
    made = []
    fill_at = Orthogonal.fill_at
    monkeypatch.setattr(Orthogonal, "fill_at", lambda self, *given: made.append(self.name) or fill_at(self, *given))
    u, v = (fi.recipe("orthogonal", (40, 30), seed=0, name=name) for name in "uv")
    expected = np.concatenate([u[...].reshape(4, 10, 30), v[...].reshape(4, 10, 30)], axis=1).reshape(80, 30)
    fused = fi.concatenate([u, v], groups=4)
    rows = np.array([79, 3, 12, 3, 44])
    for values, wanted in (
        (lambda: fused[...], expected),
        (lambda: fused[3:77:7, ::-1], expected[3:77:7, ::-1]),
        (lambda: fused.take(rows), expected[rows]),
        (lambda: fused.take(rows[:, None]), expected[rows[:, None]]),
        (lambda: fused.T.reshape(-1)[5:-7:11], expected.T.reshape(-1)[5:-7:11]),
        (lambda: fused.reshape(-1).take(rows), expected.reshape(-1)[rows]),
        (lambda: u.reshape(-1)[5:-7], u[...].reshape(-1)[5:-7]),
        (lambda: fi.paste(fused, np.s_[5:9], fi.literal(np.zeros((4, 30), "f4")))[1:5], expected[1:5]),
    ):
        made.clear()
        assert (bits(values()) == bits(wanted)).all()
        assert sorted(made) in (["u"], ["u", "v"])


@given(data=st.data(), shape=st.sampled_from(SHAPES), depth=st.integers(0, 3))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_memory_of_uint16_stands_for_bfloat16(data, shape, depth):
    recipe, expected = tensors(data.draw, shape, "bfloat16", depth)
    out = np.full(shape, 7, np.uint16)
    recipe.fill(out)
    assert (out == bits(expected)).all()
