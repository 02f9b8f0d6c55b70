"""Recipe dicts and manifests from anybody: refused in one line, or read; never another error, never without end."""

import contextlib
import copy
import json
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import fastinit as fi
from conftest import bits
from fastinit.checkpoint import ManifestError, load_manifest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.toml"))
RECIPES = [
    fi.recipe("normal", (3, 4), seed=0, name="n", mean=0.5, std=2.0),
    fi.recipe("uniform", (5,), seed=2**100, name="", dtype="float64", low=-1.0, high=1.0),
    fi.recipe("truncated_normal", (2, 2, 2), seed=1, name="t", lower=float("-inf"), upper=2.0),
    fi.recipe("he_normal", (4, 6), seed=1, name="h", negative_slope=0.1, dtype="float16"),
    fi.recipe("variance_scaling", (4, 6, 2), seed=1, name="v", scale=2.0, mode="fan_avg", distribution="uniform"),
    fi.recipe("orthogonal", (6, 4), seed=1, name="o", gain=-1.5),
    fi.recipe("eye", (3, 3), seed=1, name="e"),
    fi.recipe("constant", (), seed=1, name="c", value=3.0),
]
NUMBERS = st.sampled_from([0, 1, -1, 7, 2**31, 2**62, 2**63, 2**64, 2**127, 2**128, 10**400, 0.5, -0.0, 1e-320, 1e300])
WORDS = st.sampled_from(
    ["", "inf", "-inf", "nan", "normal", "orthogonal", "float32", "bfloat16", "shape", "\ud800", "\0"]
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=1000, deadline=None)
@given(st.data(), st.sampled_from(RECIPES))
def test_a_dict_is_refused_or_means_what_it_says(data, recipe):
    d = copy.deepcopy(recipe.to_dict())
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(sorted(d)) | WORDS)
        if data.draw(st.booleans()):
            d.pop(key, None)
        else:
            d[key] = data.draw(JSON)
        if not d:
            break
    read = refusal = None
    try:
        read = fi.Recipe.from_dict(d)
    except (TypeError, ValueError) as error:
        refusal = str(error)
    if read is None:
        assert refusal
        return
    again = fi.Recipe.from_dict(json.loads(json.dumps(read.to_dict(), allow_nan=False)))
    assert again == read
    if read.size <= 1000:
        with contextlib.suppress(ValueError, TypeError, ArithmeticError):  # what a dtype or shape cannot hold
            assert (bits(np.asarray(read)) == bits(np.asarray(again))).all()


CHANGES = st.sampled_from(
    ["{0..21}", "{0..999999999999}", "{a,b}{c,d}", "{", "}", "{..}", "seed = 0", "seed = -1", "seed = 1e400", "[[rules]]",
     "[[tensors]]", "[tensors]", 'shapes_from = "/dev/zero"', 'shapes_from = "~nobody/x"', 'shapes_from = "."', "shape = [0]",
     "shape = [9999999999, 9999999999]", "shape = []", 'init = "orthogonal"', "std = inf", "std = nan", "a.b.c.d = 1",
     "x = " + "[" * 3000, "= 1", '"', "'''", "\ufeff", "\0", "in_axis = 7", "in_axis = [0, 0]", 'dtype = "float64"',
     "{layer:0..21}", "{shape:0..1}", 'std = "0.02 / sqrt(2 * (layer + 1))"', 'low = "-1 / sqrt(fan_in)"', 'std = "1 / (shape[0] - 768)"',
     "stack = []", "concatenate = [{}]", "stack = [{ name = 'p{expert:0..3}', shape = [2], init = 'ones' }]", "groups = 7", "axis = -1",
     "transpose = { name = 'p{layer}', shape = [2, 3], init = 'normal' }", "onto = {}", "at = [[0, 1, 2]]", "stack = [" + "{ stack = [" * 300,
     'std = "1e999"', 'std = "(((((("', 'seed = "1 + 1"', "fan_in = 3"],
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(EXAMPLES))
def test_a_manifest_is_refused_or_read(tmp_path_factory, data, example):
    lines = example.read_text(encoding="utf-8").splitlines()[:60]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        how = data.draw(st.sampled_from(["insert", "delete", "repeat", "swap", "cut", "inside"]))
        if how == "insert":
            lines.insert(at, data.draw(CHANGES))
        elif how == "delete":
            del lines[at]
        elif how == "repeat":
            lines.insert(at, lines[at])
        elif how == "swap":
            other = data.draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
        elif how == "cut":
            lines[at] = lines[at][: data.draw(st.integers(0, len(lines[at])))]
        else:
            place = data.draw(st.integers(0, len(lines[at])))
            lines[at] = lines[at][:place] + data.draw(CHANGES) + lines[at][place:]
        if not lines:
            return
    path = tmp_path_factory.getbasetemp() / "hostile.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    recipes, mistakes = {}, []
    try:
        recipes = load_manifest(path)
    except ManifestError as error:
        mistakes = error.mistakes
    assert bool(recipes) != bool(mistakes)
    assert all(str(path) in line for line in mistakes)
    for name, recipe in recipes.items():
        assert recipe.name == (name if recipe.initializer else None)
        assert fi.Recipe.from_dict(recipe.to_dict()) == recipe
