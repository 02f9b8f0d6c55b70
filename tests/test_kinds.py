"""sparse and dirac by independent slow definitions, in any region, layout and instruction set; what they refuse."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastinit as fi
from conftest import DTYPES, Guarded, bits
from fastinit import _kernels
from fastinit.initializers.parameters import PARAMETERS
from fastinit.kinds import KINDS, diagonal, sparse
from fastinit.questions import made_together
from models import everything
from test_law import basic_indices, layouts


def sparse_slowly(shape, sparsity, std, dtype, seed, name):
    """Normals, and in every column zeros where its uniforms are least, one column after the other."""
    rows, columns = shape
    made = fi.normal(shape, std=std, dtype=dtype, seed=seed, name=name)
    order = fi.uniform((columns, rows), dtype="float64", seed=seed, name=f"{name}/zeros")
    for column in range(columns):
        for row in sorted(range(rows), key=lambda row: order[column, row])[: math.ceil(sparsity * rows)]:
            made[row, column] = 0
    return made


def dirac_slowly(shape, groups, out_axis, in_axis, dtype):
    """The loops of torch.nn.init.dirac_."""
    made = fi.zeros(shape, dtype=dtype)
    moved = np.moveaxis(made, (out_axis, in_axis), (0, 1))
    per_group = moved.shape[0] // groups
    centre = tuple(n // 2 for n in moved.shape[2:])
    for group in range(groups):
        for channel in range(min(per_group, moved.shape[1])):
            moved[(group * per_group + channel, channel, *centre)] = 1
    return made


def cases(draw):
    """A recipe of either kind, and all of its values."""
    dtype = draw(st.sampled_from(list(DTYPES)))
    if draw(st.booleans()):
        shape = tuple(draw(st.tuples(st.integers(1, 60), st.integers(1, 60))))
        parameters = {"sparsity": draw(st.sampled_from([0, 0.1, 0.5, 0.9, 1])), "std": draw(st.sampled_from([0.01, 2]))}
        recipe = fi.recipe("sparse", shape, dtype=dtype, seed=3, name="w", **parameters)
        return recipe, sparse_slowly(shape, *parameters.values(), dtype, 3, "w")
    shape = [draw(st.integers(1, 7)) for _ in range(draw(st.integers(3, 5)))]
    out_axis, in_axis = draw(st.permutations(range(len(shape))))[:2]
    groups = draw(st.integers(1, 4))
    shape[out_axis] *= groups
    recipe = fi.recipe("dirac", shape, dtype=dtype, groups=groups, out_axis=out_axis, in_axis=in_axis)
    return recipe, dirac_slowly(shape, groups, out_axis, in_axis, dtype)


@given(data=st.data())
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_region_rows_layout_threads_and_isa(data):
    recipe, expected = cases(data.draw)
    index = data.draw(basic_indices(recipe.shape), "index")
    region = expected[index]
    place = Guarded(region.shape, recipe.to_dict()["dtype"], **data.draw(layouts(region.shape), "layout"))
    _kernels.use_isa(data.draw(st.sampled_from(_kernels.usable_isas()), "isa"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse, "BLOCK", data.draw(st.sampled_from([1, 64, 1 << 19]), "block"))
        patch.setattr(diagonal, "PAIRS_AT_ONCE", data.draw(st.sampled_from([1, 8, 1 << 20]), "pairs"))
        recipe.fill(place.array, index, threads=data.draw(st.sampled_from([1, 2, 3, 7]), "threads"))
        assert (bits(place.array) == bits(region)).all()
        assert place.untouched()
        if region.ndim and region.shape[0]:
            n = region.shape[0]
            rows = np.array(data.draw(st.lists(st.integers(-n, n - 1), max_size=9), "rows"), np.int64)
            assert (bits(recipe.part(index).take(rows)) == bits(region[rows])).all()
            assert (bits(recipe.part(index).take(rows[:, None])) == bits(region[rows[:, None]])).all()


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("sparse", (400, 300), {"sparsity": 0.37, "std": 0.5}),
        ("sparse", (400, 300), {"sparsity": 1.0}),
        ("dirac", (12, 5, 3, 4), {"groups": 3}),
        ("dirac", (3, 3, 20, 8), {"in_axis": -2, "out_axis": -1}),
    ],
)
def test_std_bounds_and_dicts(name, shape, parameters):
    recipe = fi.recipe(name, shape, dtype="float64", seed=1, name="w", **parameters)
    values = recipe[...]
    assert recipe.std == pytest.approx(values.std(), rel=0.01)
    least, greatest = recipe.bounds
    assert least <= values.min()
    assert values.max() <= greatest
    again = fi.Recipe.from_dict(json.loads(json.dumps(recipe.to_dict(), allow_nan=False)))
    assert again == recipe
    assert (again[...] == values).all()
    assert recipe.initializer == fi.init(
        name, **{key: n % len(shape) if "axis" in key else n for key, n in parameters.items()}
    )


def test_axes_of_dirac_are_torchs_and_counted_from_0():
    r = fi.recipe("dirac", (4, 4, 3), in_axis=-2, out_axis=-3, seed=0)
    assert r == fi.recipe("dirac", (4, 4, 3), seed=0)
    assert r.to_dict()["in_axis"] == [1]


@pytest.mark.parametrize(
    ("name", "shape", "parameters"), [("sparse", (9, 5), {"sparsity": 0.5}), ("dirac", (4, 4, 3), {})]
)
def test_bits_of_bfloat16(name, shape, parameters):
    recipe = fi.recipe(name, shape, dtype="bfloat16", seed=0, **parameters)
    out = np.full(shape, 7, np.uint16)
    assert (recipe.fill(out) == bits(recipe[...])).all()
    assert (recipe.take([2, 1], out=out[:2]) == bits(recipe[...])[[2, 1]]).all()


def test_zero_sizes():
    for shape in ((0, 5), (5, 0), (0, 0)):
        assert fi.sparse(shape, 0.5, seed=0).shape == shape
    for shape in ((0, 5, 3), (4, 0, 3), (4, 4, 0)):
        assert fi.dirac(shape).shape == shape
        assert fi.recipe("dirac", shape).std == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fi.sparse((4, 4), 1.5), "sparsity must be from 0 to 1, got 1.5"),
        (lambda: fi.sparse((4, 4), -0.5), "sparsity must be from 0 to 1, got -0.5"),
        (lambda: fi.sparse((4, 4), float("nan")), "sparsity must not be NaN"),
        (lambda: fi.sparse((4, 4), 0.5, std=-1.0), "std"),
        (lambda: fi.sparse((4, 4, 4), 0.5), "sparse needs two axes"),
        (lambda: fi.init("sparse"), "sparse needs sparsity="),
        (lambda: fi.dirac((4, 4)), "spatial axes, got shape .4, 4.; see eye"),
        (lambda: fi.dirac((4, 4, 3), 3), "3 groups divide, got 4"),
        (lambda: fi.dirac((4, 4, 3), 0), "groups must be at least 1"),
        (lambda: fi.dirac((4, 4, 3), 2.0), "groups must be an integer"),
        (lambda: fi.dirac((4, 4, 3), in_axis=0), "share an axis"),
        (lambda: fi.dirac((4, 4, 3), in_axis=(1, 2)), "one out_axis and one in_axis"),
        (lambda: fi.dirac((4, 4, 3), out_axis=5), "out_axis=5: shape"),
    ],
)
def test_errors(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_progress_counts_to_the_end():
    for recipe in (fi.recipe("sparse", (600, 90), sparsity=0.2, seed=0), fi.recipe("dirac", (6, 6, 3))):
        for index in (np.s_[...], np.s_[1:3, ::2], np.s_[2, None]):
            told = []
            out = np.empty(recipe.part(index).shape, np.float32)
            recipe.fill(out, index, progress=lambda *share, told=told: told.append(share))
            assert told[-1][0] == told[-1][1]


def test_far_indices_take_no_memory():
    far = fi.recipe("dirac", (1 << 40, 1 << 10, 3), seed=0)
    assert far[5, 5].tolist() == [0, 1, 0]
    assert far[(1 << 40) - 1, 5].tolist() == [0, 0, 0]
    assert fi.recipe("dirac", (1 << 40, 4, 3), groups=1 << 38)[(1 << 40) - 1].tolist() == [[0, 0, 0]] * 3 + [[0, 1, 0]]
    assert np.isfinite(fi.recipe("sparse", (100, 1 << 50), sparsity=0.5, seed=0)[:, -3:]).all()


def test_what_is_made_together():
    assert [made_together(recipe) for recipe in everything().values()] == [
        name in ("q", "d", "s") for name in everything()
    ]


def test_manifests_have_them(tmp_path):
    (tmp_path / "m.toml").write_text(
        """
        seed = 0
        [[tensors]]
        name = "s"
        shape = [40, 30]
        init = "sparse"
        sparsity = 0.25
        [[tensors]]
        name = "c"
        shape = [8, 4, 3, 3]
        init = "dirac"
        groups = 2
        """
    )
    assert fi.checkpoint.load_manifest(tmp_path / "m.toml") == {
        "s": fi.recipe("sparse", (40, 30), sparsity=0.25, seed=0, name="s"),
        "c": fi.recipe("dirac", (8, 4, 3, 3), groups=2, seed=0, name="c"),
    }


def test_every_initializer_has_a_kind():
    assert list(KINDS) == list(PARAMETERS)
