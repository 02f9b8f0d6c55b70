"""Manifests: what they mean, and every mistake at once."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import fastinit as fi
from fastinit.checkpoint import ManifestError, load_manifest
from fastinit.checkpoint.names import expand

EXAMPLES = Path(__file__).parent.parent / "examples"
EXAMPLE = """
seed = 0
dtype = "bfloat16"

[[tensors]]
name = "model.embed_tokens.weight"
shape = [32000, 2048]
init = "normal"
std = 0.02

[[tensors]]
name = "model.layers.{0..21}.mlp.up_proj.weight"   # expands, ends included
shape = [5632, 2048]
init = "he_normal"
in_axis = 1
out_axis = 0
"""


@pytest.fixture
def load(tmp_path):
    """A manifest's text as recipes."""

    def run(text, **options):
        path = tmp_path / "m.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load_manifest(path, **options)

    return run


def mistakes(load, text):
    with pytest.raises(ManifestError) as caught:
        load(text)
    found = caught.value.mistakes
    assert str(caught.value).splitlines() == found
    assert all("m.toml: " in line for line in found)
    return [line.partition("m.toml: ")[2] for line in found]


def test_the_example_of_the_documentation(load):
    recipes = load(EXAMPLE)
    assert list(recipes) == ["model.embed_tokens.weight"] + [f"model.layers.{i}.mlp.up_proj.weight" for i in range(22)]
    assert recipes["model.embed_tokens.weight"] == fi.recipe(
        "normal", (32000, 2048), std=0.02, dtype="bfloat16", seed=0, name="model.embed_tokens.weight"
    )
    name = "model.layers.21.mlp.up_proj.weight"
    assert recipes[name] == fi.recipe(
        "he_normal", (5632, 2048), in_axis=1, out_axis=0, dtype="bfloat16", seed=0, name=name
    )


def test_a_tensor_overrides_seed_and_dtype_and_shares_the_axes(load):
    recipes = load("""
        seed = "340282366920938463463374607431768211455"
        in_axis = 1
        out_axis = 0
        tensors = [
            {name = "a", shape = [4, 6], init = "kaiming_uniform"},
            {name = "b", shape = [4, 6], init = "he_normal", seed = 5, dtype = "float64", in_axis = 0, out_axis = 1},
            {name = "c", shape = 7, init = "truncated_normal", lower = "-inf", upper = inf, std = 1},
        ]""")
    assert recipes["a"] == fi.recipe("he_uniform", (4, 6), in_axis=1, out_axis=0, seed=2**128 - 1, name="a")
    assert recipes["b"] == fi.recipe("he_normal", (4, 6), in_axis=0, out_axis=1, seed=5, dtype="float64", name="b")
    assert recipes["c"] == fi.recipe("truncated_normal", 7, lower=-np.inf, upper=np.inf, seed=2**128 - 1, name="c")


def test_the_callers_seed_and_dtype_stand_for_those_at_the_top(load):
    text = 'tensors = [{name="a", shape=[2], init="normal"}, {name="b", shape=[2], init="normal", seed=1, dtype="float16"}]'
    assert load(text, seed=9, dtype=np.float64) == load(text, seed=9, dtype="float64")
    recipes = load(text, seed=9, dtype="float64")
    assert (recipes["a"].seed, recipes["a"].dtype) == (9, np.float64)
    assert (recipes["b"].seed, recipes["b"].dtype) == (1, np.float16)


def test_every_mistake_is_reported_at_once(load):
    found = mistakes(
        load,
        """
        sead = 1
        dtype = "float23"
        [[tensors]]
        name = "a"
        shape = [4, -6]
        init = "he_normel"
        [[tensors]]
        name = "b.{0..3}"
        shape = [4, 6]
        init = "normal"
        sdt = 0.1
        mean = "x"
        dtype = 3
        [[tensors]]
        shape = [3]
        [[tensors]]
        name = "c"
        shape = [7]
        init = "glorot_uniform"
        [[tensors]]
        name = "c"
        shape = [7, 2]
        init = "normal"
        std = -1.0
        """,
    )
    text = "\n".join(found)
    for words in (
        "at the top: unknown key 'sead'; did you mean 'seed'?",
        "at the top: seed is missing",
        "at the top: unknown dtype 'float23'; did you mean",
        "[[tensors]] 1 ('a'): negative length in shape (4, -6)",
        "[[tensors]] 1 ('a'): unknown initializer 'he_normel'; did you mean 'he_normal'?",
        "[[tensors]] 2 ('b.{0..3}'): unknown key 'sdt'; did you mean 'std'?",
        "[[tensors]] 2 ('b.{0..3}'): mean = 'x', column 1: unknown word 'x'; known: sqrt,",
        "[[tensors]] 2 ('b.{0..3}'): unknown dtype 3",
        "[[tensors]] 3: name is missing",
        "[[tensors]] 3: init is missing",
        "[[tensors]] 4 ('c'): in_axis=-2: shape (7,) has 1 axes",
        "[[tensors]] 5 ('c'): normal: std must not be negative",
    ):
        assert words in text, words
    assert len(found) == 12


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('seed = 0\ntensors = [{name="a", shape=[2], init="normal"}, {name="{a,b}", shape=[2], init="ones"}]', "'a' is there already, by [[tensors]] 1 ('a')"),
        ("seed = 0", "neither [[tensors]] nor shapes_from"),
        ("seed = 0\ntensors = []", "there are no tensors"),
        ("seed = 0\ntensors = 3", "each under [[tensors]]"),
        ('seed = true\ntensors = [{name="a", shape=[2], init="normal"}]', "not a bool"),
        ('seed = "x"\ntensors = [{name="a", shape=[2], init="normal"}]', "decimal string"),
        ('seed = -1\ntensors = [{name="a", shape=[2], init="normal"}]', "at least 0"),
        ('seed = 0\ntensors = [{name="a/../../b", shape=[2], init="normal"}]', "leads out of a folder"),
        ('seed = 0\ntensors = [{name="__metadata__", shape=[2], init="normal"}]', "the safetensors format takes that name"),
        ('seed = 0\ntensors = [{name="a", shape=[2.5], init="normal"}]', "made of integers"),
        ('seed = 0\ntensors = [{name="a", init="normal"}]', "shape is missing"),
        ('seed = 0\ntensors = [{name=5, shape=[2], init="normal"}]', "name must be text"),
        ('seed = 0\ntensors = [{name="a", shape=[2], init=["normal"]}]', "name is a str"),
        ('seed = 0\nrules = [{match="*", init="ones"}]', "rules need shapes_from"),
        ("seed = 0\nshapes_from = 3", "shapes_from must be the path"),
        ('seed = 0\nshapes_from = "no.safetensors"', "No such file"),
        ("seed = ", "no TOML"),
        (f"seed = {'9' * 5000}", "no TOML"),
        ('seed = 0\ntensors = [{name="a", shape=[0, 1' + "0" * 400 + '], init="he_normal"}]', "2**62 elements or more"),
        ('seed = 0\ntensors = [{name="a", shape=[2], init="normal", dtype="' + "9" * 5000 + '"}]', "unknown dtype"),
        ('seed = 0\ntensors = [{name="{a,..}/x", shape=[2], init="normal"}]', "leads out of a folder"),
        ('seed = 0\ntensors = [{name="{0..999999}{0..999999}{0..999999}", shape=[2], init="normal"}]', "more than 1000000"),
        (b"seed = 0 # \xff", "not UTF-8"),
        ('seed = 0\nin_axis = "x"\ntensors = [{name="a", shape=[2], init="normal"}]', "in_axis must be an integer"),
        ('seed = 0\ntensors = [{name="a{0..}", shape=[2], init="normal"}]', "neither a range"),
        ('seed = 0\ntensors = [{name="a{0..99999}{0..99999}", shape=[2], init="normal"}]', "more than 1000000 tensors"),
    ],
)  # fmt: skip
def test_mistakes(load, text, words):
    assert any(words in line for line in mistakes(load, text)), mistakes(load, text)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("a", ["a"]),
        ("a.{0..2}.b", ["a.0.b", "a.1.b", "a.2.b"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{08..11}", ["08", "09", "10", "11"]),
        ("{3..3}", ["3"]),
        ("{q,k}.{0..1}", ["q.0", "q.1", "k.0", "k.1"]),
    ],
)
def test_braces(name, names):
    assert expand(name) == names


@pytest.mark.parametrize(
    "name", ["{", "a}", "{3..1}", "{}", "{a}", "{a,}", "{0..1000000}", "{{0..1}}", "{-1..2}", "{٣..٤}"]
)
def test_braces_that_mean_nothing(name):
    with pytest.raises(ValueError, match=r"brace|neither|down|more than"):
        expand(name)


# ---- shapes from a file ------------------------------------------------------------------------------------


@pytest.fixture
def header(tmp_path):
    save_file(
        {
            "a.weight": np.zeros((4, 6), np.float16),
            "a.bias": np.zeros(4, np.float32),
            "b.weight": np.zeros((6, 4), np.float32),
            "ids": np.zeros(3, np.int64),
        },
        tmp_path / "model.safetensors",
    )
    return 'shapes_from = "model.safetensors"\n'


def test_rules_take_names_shapes_and_dtypes_from_a_file(load, header):
    recipes = load(
        "seed = 4\nin_axis = 1\nout_axis = 0\n"
        + header
        + """
        rules = [
            {match = "id", init = "ones"},
            {match = "IDS", init = "ones"},
            {match = "ids", skip = true},
            {match = "b.*", init = "lecun_normal", seed = 8, dtype = "float64"},
            {match = "*.weight", init = "he_uniform"},
            {match = "*", init = "zeros"},
        ]"""
    )
    assert recipes.keys() == {"a.weight", "a.bias", "b.weight"}
    assert recipes["a.weight"] == fi.recipe(
        "he_uniform", (4, 6), in_axis=1, out_axis=0, dtype="float16", seed=4, name="a.weight"
    )
    assert recipes["a.bias"] == fi.recipe("zeros", 4, seed=4, name="a.bias")
    assert recipes["b.weight"] == fi.recipe(
        "lecun_normal", (6, 4), in_axis=1, out_axis=0, dtype="float64", seed=8, name="b.weight"
    )


def test_a_dtype_at_the_top_stands_over_the_files(load, header):
    text = (
        'seed = 4\ndtype = "bfloat16"\n'
        + header
        + 'rules = [{match = "ids", skip = true}, {match = "*", init = "normal"}]'
    )
    assert {recipe.to_dict()["dtype"] for recipe in load(text).values()} == {"bfloat16"}


def test_tensors_without_a_rule_are_listed(load, header):
    found = mistakes(load, "seed = 0\n" + header + 'rules = [{match = "a.weight", init = "normal"}]')
    assert sorted(found) == sorted(
        f"[[rules]]: no rule matches tensor {name!r} of shape {shape}"
        for name, shape in (("b.weight", [6, 4]), ("a.bias", [4]), ("ids", [3]))
    )


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ('init = "he_normal"', "he_normal depends on the axes: say in_axis= and out_axis="),
        ('init = "glorot_uniform", in_axis = 1', "say out_axis= here"),
        ('init = "glorot_uniform", fan_in = 6', "say in_axis= and out_axis="),
        ('init = "orthogonal"', "say out_axis= here"),
        ('init = "variance_scaling", scale = 1, mode = "fan_out", distribution = "normal", fan_in = 3', "say in_axis="),
        ('init = "normal", dtype = "float33"', "unknown dtype"),
        ('init = "normal", sdt = 1', "did you mean 'std'?"),
        ('init = "normal", skip = 1', "skip must be true or false"),
        ('skip = true, init = "normal"', "unknown key 'init'"),
        ("", "init is missing"),
        ('init = "normla", sid = 3', "unknown key 'sid'; did you mean"),
        ("sdt = 3", "unknown key 'sdt'; did you mean 'std'?"),
    ],
)
def test_mistakes_of_rules(load, header, rule, words):
    text = "seed = 0\n" + header + 'rules = [{match = "*.weight", ' + rule + '}, {match = "*", skip = true}]'
    text = text.replace(", }", "}")
    assert any(words in line and line.startswith("[[rules]] 1 ('*.weight')") for line in mistakes(load, text))


@pytest.mark.parametrize(
    "rule",
    [
        'init = "he_normal", fan_in = 6',
        'init = "glorot_normal", fan_in = 6, fan_out = 4',
        'init = "normal"',
        'init = "eye"',
    ],
)
def test_rules_that_need_no_axes(load, header, rule):
    text = "seed = 0\n" + header + 'rules = [{match = "*.weight", ' + rule + '}, {match = "*", skip = true}]'
    assert len(load(text)) == 2


def test_a_dtype_that_cannot_be_made_needs_a_rule(load, header):
    found = mistakes(load, "seed = 0\ndtype = 'float64'\n" + header + 'rules = [{match = "*", init = "normal"}]')
    assert found == ["[[rules]] 1 ('*'): ids: it has dtype I64: give the rule a dtype, or skip = true"]


def test_shapes_from_a_folder(load, tmp_path):
    recipes = {name: fi.recipe("normal", (5, 7), seed=0, name=name) for name in "abc"}
    fi.checkpoint.save(tmp_path / "hf", recipes, max_shard_size=150)
    text = 'seed = 0\nshapes_from = "hf"\nrules = [{match = "*", init = "normal"}]'
    assert load(text) == recipes
    assert load(text.replace('"hf"', '"hf/model.safetensors.index.json"')) == recipes


# ---- the examples ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "tensors", "parameters"),
    [
        ("gpt2-124m", 148, 124_439_808),
        ("tinyllama-1.1b", 201, 1_100_048_384),
        ("vit-b16", 152, 86_567_656),
        ("dlrm-dcnv2", 26, 26_135_627_264),
        ("llama-3.1-8b", 291, 8_030_261_248),
        ("torchtitan-llama3-8b", 291, 8_030_261_248),
    ],
)
def test_examples_have_the_published_sizes(file, tensors, parameters):
    recipes = load_manifest(EXAMPLES / f"{file}.toml")
    assert len(recipes) == tensors
    assert sum(recipe.size for recipe in recipes.values()) == parameters


def test_the_demo_and_the_manifest_are_the_same_model():
    """But for the dtype, of which bits do not depend on the order of calls or on the file."""
    import runpy

    demo = runpy.run_path(str(EXAMPLES / "tinyllama.py"))
    manifest = load_manifest(EXAMPLES / "tinyllama-1.1b.toml", dtype="float32")
    listed = {
        name: fi.recipe(initializer, shape, seed=0, name=name) for name, _, shape, initializer in demo["tensors"](22)
    }
    assert listed == manifest


def test_the_last_region_of_dlrm_without_the_file():
    """Rows of a 104 GB manifest: each table's last region by itself, by `take`, and by the law of uniform."""
    recipes = load_manifest(EXAMPLES / "dlrm-dcnv2.toml")
    assert sum(recipe.nbytes for recipe in recipes.values()) == 104_542_509_056
    for recipe in recipes.values():
        rows, width = recipe.shape
        assert width == 128
        bound = 1 / np.sqrt(rows)
        last = recipe[-2:]
        assert (last == recipe.take([rows - 2, rows - 1] if rows > 1 else [0])[-len(last) :]).all()
        assert (np.abs(last) <= np.float32(bound)).all()
        assert np.abs(last).max() > 0.9 * bound  # 256 numbers below that: 2e-12
        key, counter = fi.stream_key(0, recipe.name)
        words = np.empty(128, np.uint32)
        fi.philox4x32(words, key, counter + (rows - 1) * width // 4)
        low, high = np.float32(-bound), np.float32(bound)
        expected = low + (words >> 8).astype(np.float64) * np.float32((float(high) - float(low)) * 2.0**-24)
        assert np.abs(last[-1] - expected).max() <= 2.0**-24 * bound


# ---- whatever TOML holds -----------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.integers(-3, 5), st.booleans(), st.sampled_from([0.5, float("inf"), float("nan")]), st.sampled_from(["a", "*", "normal", "he_normal", "float32", "{0..2}", ""])
)  # fmt: skip
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3))
TABLES = st.dictionaries(
    st.sampled_from(["name", "shape", "init", "seed", "dtype", "std", "in_axis", "out_axis", "match", "skip", "value"]), VALUES
)  # fmt: skip
TOPS = st.dictionaries(
    st.sampled_from(["seed", "dtype", "in_axis", "out_axis", "tensors", "rules", "shapes_from", "else"]),
    st.one_of(VALUES, TABLES, st.lists(TABLES, max_size=3)),
)


def toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)


@settings(deadline=None)
@given(TOPS)
def test_any_manifest_is_recipes_or_a_list_of_mistakes(tmp_path_factory, top):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text("\n".join(f"{key} = {toml(value)}" for key, value in top.items()))
    recipes = {}
    with contextlib.suppress(ManifestError):
        recipes = load_manifest(path)
        assert recipes
    assert all(recipe.name == name for name, recipe in recipes.items())
