"""Formulas and named ranges in manifests: where they may stand, what they know of a tensor, every mistake at once."""

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import fastinit as fi
from fastinit.checkpoint import ManifestError, load_manifest
from fastinit.checkpoint.names import Family, expand, numbers_of

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def load(tmp_path):
    """The lines of a manifest without its seed, as recipes."""

    def run(*lines, **options):
        (tmp_path / "m.toml").write_text("\n".join(["seed = 0", *lines]), encoding="utf-8")
        return load_manifest(tmp_path / "m.toml", **options)

    return run


def tensor(name, shape, init, **parameters):
    """A table; texts among the parameters are quoted."""
    shown = (f"{key} = {value if not isinstance(value, str) else repr(value)}" for key, value in parameters.items())
    return "\n".join(["[[tensors]]", f"name = '{name}'", f"shape = {list(shape)}", f"init = '{init}'", *shown])


def mistakes(load, *lines):
    with pytest.raises(ManifestError) as caught:
        load(*lines)
    assert str(caught.value).splitlines() == caught.value.mistakes
    return [line.partition("m.toml: ")[2] for line in caught.value.mistakes]


def test_the_examples_of_the_documentation(load):
    recipes = load(
        tensor("a", (5, 6), "normal", std="0.02 / sqrt(2 * 22)"),
        tensor("b", (7, 6), "uniform", low="-1 / sqrt(shape[0])", high="1 / sqrt(shape[0])"),
        tensor("layers.{layer:0..21}.mlp.down_proj.weight", (4, 6), "normal", std="0.02 / sqrt(2 * (layer + 1))"),
    )
    assert recipes["a"] == fi.recipe("normal", (5, 6), std=0.02 / math.sqrt(44), seed=0, name="a")
    bound = 1 / math.sqrt(7)
    assert recipes["b"] == fi.recipe("uniform", (7, 6), low=-bound, high=bound, seed=0, name="b")
    assert len(recipes) == 24
    for layer in range(22):
        name = f"layers.{layer}.mlp.down_proj.weight"
        std = 0.02 / math.sqrt(2 * (layer + 1))
        assert recipes[name] == fi.recipe("normal", (4, 6), std=std, seed=0, name=name)


@pytest.mark.parametrize(
    ("init", "parameters"),
    [
        ("uniform", {"low": -2.0, "high": 3.0}),
        ("normal", {"mean": 2.0, "std": 3.0}),
        ("truncated_normal", {"mean": 1.0, "std": 2.0, "lower": -1.0, "upper": 3.0}),
        ("constant", {"value": 4.0}),
        ("eye", {"gain": -2.0}),
        ("orthogonal", {"gain": 2.0}),
        ("variance_scaling", {"scale": 2.0, "mode": "fan_avg", "distribution": "uniform", "gain": 0.5}),
        ("glorot_uniform", {"gain": 2.0}),
        ("he_normal", {"gain": 2.0, "negative_slope": 0.25}),
    ],
)
def test_every_number_may_be_a_formula(load, init, parameters):
    """Each of them through shape, fans and a range, which change nothing."""
    zero = "0 * (shape[0] + fan_in + fan_out + n)"
    formulas = {key: f"{value!r} + {zero}" if isinstance(value, float) else value for key, value in parameters.items()}
    plain = {key: repr(value) if isinstance(value, float) else value for key, value in parameters.items()}
    for written in (formulas, plain):
        made = load(tensor("w{n:3..3}", (6, 4), init, **written))
        assert made == {"w3": fi.recipe(init, (6, 4), seed=0, name="w3", **parameters)}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"init": "he_normal", "fan_in": "2 * 3"}, "fan_in must be an integer"),
        ({"init": "he_normal", "in_axis": "0 + 1"}, "in_axis must be an integer"),
        ({"init": "he_normal", "truncated": "1"}, "truncated must be True or False"),
        ({"init": "normal", "seed": "1 + 1"}, "seed must be an integer or a decimal string"),
        ({"init": "normal", "std": True}, "std must be a number"),
        ({"init": "normal", "std": ["1"]}, "std must be a number"),
        ({"init": "variance_scaling", "scale": 1, "mode": "1", "distribution": "normal"}, "unknown mode '1'"),
    ],
)
def test_integers_seeds_and_words_are_no_formulas(load, parameters, words):
    written = {key: str(value).lower() if isinstance(value, bool) else value for key, value in parameters.items()}
    quoted = "\n".join(f"{key} = {repr(v) if v != 'true' else v}" for key, v in written.items())
    (line,) = mistakes(load, "[[tensors]]\nname = 'a'\nshape = [4, 6]", quoted)
    assert words in line


def test_shapes_are_no_formulas(load):
    (line,) = mistakes(load, "tensors = [{name = 'a', shape = ['2 * 3'], init = 'ones'}]")
    assert "a shape is made of integers" in line


def test_infinities_and_nan_are_what_they_were(load):
    recipes = load(
        tensor("a", (4,), "truncated_normal", lower="-inf", upper="inf"), tensor("b", (4,), "constant", value="nan")
    )
    assert recipes["a"] == fi.recipe("truncated_normal", 4, lower=-math.inf, upper=math.inf, seed=0, name="a")
    assert np.isnan(recipes["b"][...]).all()
    (line,) = mistakes(load, tensor("a", (4,), "normal", std="nan"))
    assert "unknown word 'nan'" in line


# ---- fans ----------------------------------------------------------------------------------------------------------


def test_fans_go_by_the_axes_of_the_table_or_the_top(load):
    std = "1 / fan_in + fan_out"
    recipes = load(
        "in_axis = 1\nout_axis = 0",
        tensor("top", (4, 8, 3), "normal", std=std),
        tensor("own", (4, 8, 3), "normal", std=std, in_axis=0, out_axis=1),
        tensor("both", (4, 8, 3), "normal", std=std, in_axis=[0], out_axis=[1, 2]),
        tensor("batch", (4, 8, 3), "normal", std=std, batch_axis=2),
        tensor("given", (5,), "normal", std=std, fan_in=4, fan_out=7),
        tensor("scaled", (4, 8), "he_normal", gain="sqrt(fan_in) * fan_out", in_axis=0, out_axis=1),
    )
    assert {name: recipe.initializer.parameters.get("std") for name, recipe in recipes.items()} == {
        "top": 1 / 24 + 12, "own": 1 / 12 + 24, "both": 1 / 4 + 24, "batch": 1 / 8 + 4, "given": 1 / 4 + 7, "scaled": None,
    }  # fmt: skip
    scaled = fi.recipe("he_normal", (4, 8), gain=2.0 * 8, in_axis=0, out_axis=1, seed=0, name="scaled")
    assert recipes["scaled"] == scaled


def test_the_default_axes_are_those_of_all_initializers(load):
    recipes = load(tensor("a", (4, 8), "normal", std="fan_in + 100 * fan_out"))
    assert recipes["a"].std == 804.0


def test_a_fan_of_one_axis_needs_to_be_given(load):
    (line,) = mistakes(load, tensor("a", (4,), "normal", std="1 / fan_in", fan_out=3))
    assert "in_axis=-2: shape (4,) has 1 axes; give in_axis=, or fan_in= and fan_out=" in line
    assert load(tensor("a", (4,), "normal", std="1 / fan_in", fan_in=2))["a"].std == 0.5


def test_one_fan_given_and_one_computed(load):
    recipes = load(tensor("a", (4, 8), "normal", std="fan_in + 100 * fan_out", fan_in=3))
    assert recipes["a"].std == 803.0


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"in_axis": 0.5}, "in_axis must be an integer"),
        ({"fan_in": 0}, "fan_in must be at least 1"),
        ({"batch_axis": "1"}, "batch_axis must be an integer"),
        ({"in_axis": 0, "out_axis": 0}, "share an axis"),
        ({"in_axis": 2}, "in_axis=2: shape (4, 8) has 2 axes"),
    ],
)
def test_axes_and_fans_of_a_formula_are_checked(load, parameters, words):
    (line,) = mistakes(load, tensor("a", (4, 8), "normal", std="1 / (fan_in * fan_out)", **parameters))
    assert words in line


def test_axes_without_a_formula_of_fans_are_unknown_keys(load):
    found = mistakes(load, tensor("a", (4, 8), "normal", std="1 / shape[0]", in_axis=1))
    assert found == [
        "[[tensors]] 1 ('a'): unknown key 'in_axis'; known: name, shape, init, seed, dtype, drawn_as, mean, std"
    ]
    (line,) = mistakes(load, tensor("a", (4, 8), "normal", std="1 / fanin", in_axis=1))  # it may have been meant
    assert "unknown word 'fanin'; did you mean 'fan_in'?" in line


# ---- rules ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def header(tmp_path):
    arrays = {"a.weight": np.zeros((4, 6), np.float32), "b.weight": np.zeros((9, 6), np.float32), "b": np.zeros(9)}
    save_file(arrays, tmp_path / "model.safetensors")
    return "shapes_from = 'model.safetensors'\n"


def rule(match, init, **parameters):
    return tensor(match, (), init, **parameters).replace("tensors", "rules").replace("name", "match").replace("shape = []\n", "")  # fmt: skip


def test_rules_compute_for_each_tensor(load, header):
    recipes = load(
        "in_axis = 1\nout_axis = 0",
        header,
        rule("*.weight", "uniform", low="-1 / sqrt(shape[0])", high="1 / sqrt(fan_in * fan_out)"),
        rule("*", "constant", value="shape[-1] / 2"),
    )
    for name, rows in (("a.weight", 4), ("b.weight", 9)):
        low, high = -1 / math.sqrt(rows), 1 / math.sqrt(6 * rows)
        assert recipes[name] == fi.recipe("uniform", (rows, 6), low=low, high=high, seed=0, name=name)
    assert recipes["b"].initializer.parameters == {"value": 4.5}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"std": "1 / fan_in"}, "normal depends on the axes: say in_axis= and out_axis= here or at the top"),
        ({"std": "1 / fan_in", "in_axis": 1}, "say out_axis= here or at the top"),
        ({"std": "1 / fan_out", "fan_in": 3}, "say in_axis= and out_axis= here or at the top"),
        ({"std": "1 / layer"}, "std = '1 / layer', column 5: unknown word 'layer'; known: "),
    ],
)
def test_mistakes_of_rules(load, header, parameters, words):
    found = mistakes(load, header, rule("*.weight", "normal", **parameters), rule("*", "zeros"))
    assert [words in line and line.startswith("[[rules]] 1 ('*.weight')") for line in found] == [True]
    assert ("layer" in words) == found[0].endswith("; a rule has no ranges: its names come from a file")


def test_a_rule_that_says_its_axes_or_fans(load, header):
    for parameters in ({"in_axis": 1, "out_axis": 0}, {"fan_in": 6}):
        recipes = load(header, rule("*.weight", "normal", std="1 / fan_in", **parameters), rule("*", "zeros"))
        assert recipes["a.weight"].std == recipes["b.weight"].std == 1 / 6


def test_a_rule_that_fails_names_each_tensor(load, header):
    found = mistakes(load, header, rule("*", "normal", std="1 / (shape[1] - 6)"))
    assert sorted(found) == [
        "[[rules]] 1 ('*'): a.weight: std = '1 / (shape[1] - 6)', column 3: division by zero",
        "[[rules]] 1 ('*'): b.weight: std = '1 / (shape[1] - 6)', column 3: division by zero",
        "[[rules]] 1 ('*'): b: std = '1 / (shape[1] - 6)', column 6: shape (9,) has no axis 1",
    ]


# ---- mistakes ------------------------------------------------------------------------------------------------------


def test_every_mistake_is_reported_at_once(load):
    found = mistakes(
        load,
        tensor("a", (4, 6), "uniform", low="-1 / sqt(4)", high="1 /", dtype="float23"),
        tensor("b.{layer:0..3}", (4, 6), "normal", mean="1 / 0", std="sqrt(0 - 1)"),
        tensor("c.{layer:0..3}", (4, 6), "uniform", low="1 / (layer - 2)", high="shape[2]"),
        tensor("d.{layer:0..3}", (4, 6), "normal", std="1 - layer"),
        tensor("e", (4, 6), "normal", std="layer"),
        tensor("{", (4, 6), "normal", std="layer / 0 + %"),
        tensor("f", (4, 6), "constant"),
        tensor("g.{layer:0..3}", (4, 6), "constant", valeu="layer"),
    )
    assert found == [
        "[[tensors]] 1 ('a'): unknown dtype 'float23'; did you mean 'float32'?",
        "[[tensors]] 1 ('a'): low = '-1 / sqt(4)', column 6: unknown function 'sqt'; did you mean 'sqrt'?",
        "[[tensors]] 1 ('a'): high = '1 /', column 4: a number is expected here, not the end",
        "[[tensors]] 2 ('b.{layer:0..3}'): mean = '1 / 0', column 3: division by zero",
        "[[tensors]] 2 ('b.{layer:0..3}'): std = 'sqrt(0 - 1)', column 1: the square root of a negative number, -1",
        "[[tensors]] 3 ('c.{layer:0..3}'): c.0: high = 'shape[2]', column 1: shape (4, 6) has no axis 2",
        "[[tensors]] 4 ('d.{layer:0..3}'): d.2: normal: std must not be negative (normal of 0, -1 in float64)",
        "[[tensors]] 5 ('e'): std = 'layer', column 1: unknown word 'layer'; known: sqrt, min, max, shape, fan_in, fan_out",
        "[[tensors]] 6 ('{'): name '{' has a brace without its other half, or one within another",
        "[[tensors]] 6 ('{'): std = 'layer / 0 + %', column 13: '%' means nothing in a formula",
        "[[tensors]] 7 ('f'): constant needs value=",
        "[[tensors]] 8 ('g.{layer:0..3}'): unknown key 'valeu'; did you mean 'value'?",
    ]


def test_a_formula_of_a_million_letters_is_a_line(load):
    tracemalloc.start()
    try:
        (line,) = mistakes(load, tensor("a", (4, 6), "normal", std="(" * 10**6))
        assert tracemalloc.get_traced_memory()[1] < 20 << 20  # TOML's reader has the text a few times
    finally:
        tracemalloc.stop()
    assert line == "[[tensors]] 1 ('a'): std: a formula has at most 200 letters, not 1000000"


def test_what_a_dtype_cannot_hold_is_said_of_the_computed_value(load):
    (line,) = mistakes(load, tensor("a", (4, 6), "normal", std="10 ** 39"))
    assert "normal of 0, 1.0000000000000001e+39 in float32" in line
    assert load(tensor("a", (4, 6), "normal", std="10 ** 39", dtype="float64"))["a"].std == pytest.approx(1e39)


# ---- named ranges --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ranges", "numbers"),
    [
        ("a", [], [{}]),
        ("a{0..2}", [], [{}] * 3),
        ("{x:3..4}", ["x"], [{"x": 3}, {"x": 4}]),
        ("{x:08..10}", ["x"], [{"x": 8}, {"x": 9}, {"x": 10}]),
        ("{q,k}.{x_1:0..1}", ["x_1"], [{"x_1": 0}, {"x_1": 1}] * 2),
        ("{a:0..1}{0..1}{b:5..6}", ["a", "b"], [{"a": a, "b": b} for a in (0, 1) for _ in "01" for b in (5, 6)]),
    ],
)
def test_numbers_of_named_ranges(name, ranges, numbers):
    family = Family(name)
    assert (family.ranges, family.count) == (ranges, len(numbers))
    assert list(map(numbers_of, family.words())) == numbers
    assert len(family.names()) == len(numbers)
    assert family.letters == sum(map(len, family.names()))


def test_a_named_range_stands_for_the_same_names():
    assert expand("{layer:08..11}.{q,k}.{n:0..1}") == expand("{08..11}.{q,k}.{0..1}")
    assert expand("{kernel:0,bias:0}") == ["kernel:0", "bias:0"]  # words with colons, as TensorFlow's names have


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("{layer:3..1}", "counts down"),
        ("{layer:0..1000000}", "more than 1000000 tensors"),
        ("{x:0..1}{x:0..1}", "two ranges of one name"),
        ("{shape:0..1}", "a range cannot be called 'shape'"),
        ("{fan_in:0..1}", "a range cannot be called 'fan_in'"),
        ("{sqrt:0..1}", "a range cannot be called 'sqrt'"),
        ("{q:q,k,v}", "gives a name to words, which only a range"),
        ("{:0..1}", "neither a range like {0..21} or {layer:0..21} nor a list"),
        ("{1x:0..1}", "neither a range"),
        ("{é:0..1}", "neither a range"),
        ("{layer: 0..1}", "neither a range"),
        ("{layer:0}", "neither a range"),
        ("{a:b:0..1}", "neither a range"),
    ],
)
def test_ranges_that_mean_nothing(name, words):
    with pytest.raises(ValueError, match=r"brace|neither|down|more than|range") as caught:
        expand(name)
    assert words in str(caught.value)


def test_two_ranges(load):
    recipes = load(tensor("l{layer:0..3}.e{expert:1..5}", (4, 6), "normal", std="10 * layer + expert"))
    assert len(recipes) == 20
    assert all(recipe.std == 10 * int(name[1]) + int(name[4]) for name, recipe in recipes.items())


def test_equal_numbers_share_an_initializer(load):
    """300,000 experts of a table are no 300,000 initializers."""
    recipes = load(tensor("l{layer:0..3}.e{expert:0..9}", (4, 6), "normal", std="layer * 0 ** expert * -1 + 5"))
    held = [recipe._kind.initializer for recipe in recipes.values()]
    assert len({id(initializer) for initializer in held}) == 4
    recipes = load(tensor("l{layer:0..1}", (4, 6), "normal", mean="-0.0 + layer * -0.0", std="1 - layer"))
    assert [recipe.initializer.parameters["std"] for recipe in recipes.values()] == [1.0, 0.0]
    recipes = load(tensor("l{layer:0..1}", (4, 6), "constant", value="0 * (2 * layer - 1)"))
    assert [str(recipe.initializer.parameters["value"]) for recipe in recipes.values()] == ["-0.0", "0.0"]


# ---- examples ------------------------------------------------------------------------------------------------------

#: Rows of MLPerf's DLRM-DCNv2, in the order of its tables.
DLRM_ROWS = [
    40000000, 39060, 17295, 7424, 20265, 3, 7122, 1543, 63, 40000000, 3067956, 405282, 10,
    2209, 11938, 155, 4, 976, 14, 40000000, 40000000, 40000000, 590152, 12973, 108, 36,
]  # fmt: skip


def test_dlrm_is_uniform_within_one_over_the_root_of_the_rows():
    recipes = load_manifest(EXAMPLES / "dlrm-dcnv2.toml")
    assert [recipe.shape for recipe in recipes.values()] == [(rows, 128) for rows in DLRM_ROWS]
    for rows, recipe in zip(DLRM_ROWS, recipes.values()):
        bound = 1 / math.sqrt(rows)
        assert recipe.initializer.parameters == {"low": -bound, "high": bound}
    first = recipes["model.sparse_arch.embedding_bag_collection.embedding_bags.t_cat_0.weight"]
    assert first.initializer.parameters["high"] == 0.00015811388300841897  # as it was written out once


def test_torchtitan_shrinks_with_depth():
    """As its model.py: trunc_normal_(std, a=-2, b=2), std 0.02 or 0.02 / (2 * (layer_id + 1)) ** 0.5."""
    recipes = load_manifest(EXAMPLES / "torchtitan-llama3-8b.toml")
    deep = {"attention.wo", "feed_forward.w2", "feed_forward.w3"}
    for layer in range(32):
        for part in ("attention.wq", "attention.wk", "attention.wv", "feed_forward.w1", *sorted(deep)):
            recipe = recipes[f"layers.{layer}.{part}.weight"]
            std = 0.02 / (2 * (layer + 1)) ** 0.5 if part in deep else 0.02
            assert recipe.initializer.name == "truncated_normal"
            assert recipe.initializer.parameters == pytest.approx(
                {"mean": 0, "std": std, "lower": -2 / std, "upper": 2 / std}
            )
            assert recipe.bounds == pytest.approx((-2, 2))
    output = recipes["output.weight"].initializer.parameters
    assert output == {"mean": 0.0, "std": 4096**-0.5, "lower": -3.0, "upper": 3.0}
    assert recipes["tok_embeddings.weight"].initializer == fi.init("normal")
