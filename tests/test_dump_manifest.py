"""dump_manifest: what it writes reads back as the same recipes; how a page reads; literals; formulas."""

import hashlib
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastinit as fi
from conftest import DTYPES
from fastinit.checkpoint import ManifestError, dump_manifest, load_manifest
from fastinit.initializers.parameters import PARAMETERS, REQUIRED
from test_composed import SHAPES, tensors


def normal(name, shape=(4, 6), **given):
    return fi.recipe("normal", shape, **({"seed": 0, "name": name} | given))


@pytest.fixture
def page(tmp_path):
    """Recipes as the text of their manifest, once it has read back as the same."""

    def written(recipes):
        path = tmp_path / "m.toml"
        dump_manifest(path, recipes, overwrite=True)
        assert load_manifest(path) == recipes
        return path.read_text(encoding="utf-8")

    return written


def tables(text):
    """What stands below each [[tensors]]."""
    return [block.strip().splitlines() for block in text.split("[[tensors]]")[1:]]


# ---- everything reads back ---------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_characters="{}", exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.one_of(st.floats(-1e30, 1e30), st.sampled_from([0.0, -0.0, 1e-5, 1e16, 0.02]))


@st.composite
def parameters(draw, name):
    """Parameters of an initializer, most of them as they are unless given."""
    chosen = {}
    for key, default in PARAMETERS[name].items():
        if default is not REQUIRED and draw(st.booleans()):
            continue
        if key in ("mode", "distribution"):
            choices = {"mode": ["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]}
            chosen[key] = draw(st.sampled_from(choices.get(key, ["uniform", "normal", "truncated_normal"])))
        elif key == "value":
            chosen[key] = draw(st.one_of(NUMBERS, st.sampled_from([math.inf, -math.inf, math.nan])))
        elif key in ("lower", "upper"):
            chosen[key] = (-1 if key == "lower" else 1) * draw(st.sampled_from([1.0, 2.5, math.inf]))
        elif key in ("low", "high"):
            chosen[key] = (-1 if key == "low" else 1) * draw(st.floats(0.5, 1e4))
        elif key == "truncated":
            chosen[key] = draw(st.booleans())
        elif key in ("fan_in", "fan_out"):
            chosen[key] = draw(st.sampled_from([None, 1, 77, 2**70]))
        elif key == "groups":
            chosen[key] = draw(st.sampled_from([1, 2]))
        elif key == "in_axis":
            chosen[key] = draw(st.sampled_from([1, -2, (1,)]))
        elif key == "out_axis":
            chosen[key] = draw(st.sampled_from([0, -1]))
        elif key == "batch_axis":
            chosen[key] = draw(st.sampled_from([(), 0]))
        elif key == "sparsity":
            chosen[key] = draw(st.floats(0, 1))
        else:
            chosen[key] = draw(st.one_of(st.just(0.0), st.floats(1e-3, 4)))
    return chosen


@st.composite
def singles(draw, name=None):
    """A recipe of any initializer."""
    seed = draw(st.sampled_from([0, 0, 0, 7, 2**53, 2**127 + 1]))
    dtype = draw(st.sampled_from(["float32", "float32", "bfloat16", "float64", "float16"]))
    for _ in range(20):
        init = draw(st.sampled_from(sorted(PARAMETERS)))
        shape = draw(st.sampled_from([(), (3,), (4, 6), (6, 4), (4, 4, 3), (2, 4, 3, 3), (0, 2)]))
        try:
            own = draw(TEXT) if name is None else name
            return fi.recipe(init, shape, seed=seed, name=own, dtype=dtype, **draw(parameters(init)))
        except (ValueError, TypeError, RuntimeWarning):  # parameters that do not go with each other, or with the shape
            continue
    return fi.recipe("zeros", (2,), seed=seed, name="z", dtype=dtype)


@st.composite
def models(draw):
    """Names and recipes: layers that are alike, but for now and then one; copies; tensors of all kinds."""
    made = {}
    for stem in draw(st.lists(st.sampled_from(["layers.{}.w", "h{}.{}", "a.{}.b.{}.c", "{}", "x"]), max_size=3)):
        kind = draw(st.sampled_from(["single", "single", "copy", "joined", "any"]))
        dtype, shape = draw(st.sampled_from(list(DTYPES))), draw(st.sampled_from(SHAPES))
        like = draw(singles())
        first = draw(st.integers(0, 11))
        for layer in range(first, first + draw(st.integers(1, 4))):
            name = stem.format(layer, draw(st.integers(0, 2)))
            if kind == "single":
                made[name] = fi.Recipe.from_dict({**like.to_dict(), "name": name})
            elif kind == "copy":
                made[name] = like
            elif kind == "joined":
                parts = [normal(f"{name}.{k}", seed=like.seed) for k in range(draw(st.integers(1, 12)))]
                parts += [
                    normal(f"{name}.q{k}", seed=like.seed).T.reshape(4, 6) for k in range(draw(st.integers(0, 3)))
                ]
                parts += [fi.literal(np.arange(24.0).reshape(4, 6).astype("f4"))] * draw(st.integers(0, 2))
                made[name] = fi.stack(parts)
            else:
                made[name], _ = tensors(draw, shape, dtype, 3)
    name = draw(st.sampled_from(["single", "any.0"]))
    made[name] = draw(singles(name))
    return made


@given(recipes=models())
@settings(max_examples=400, deadline=None, derandomize=True)
def test_what_is_written_reads_back(tmp_path_factory, recipes):
    path = tmp_path_factory.mktemp("dump") / "m.toml"
    dump_manifest(path, recipes)
    found = load_manifest(path)
    assert found == recipes
    assert {name: json.dumps(recipe.to_dict()) for name, recipe in found.items()} == {
        name: json.dumps(recipe.to_dict()) for name, recipe in recipes.items()
    }
    dump_manifest(path, found, overwrite=True)  # and what was read is written as text of the same tables
    assert load_manifest(path) == recipes


# ---- what a page says ---------------------------------------------------------------------------------------------


def test_layers_are_one_table_with_a_named_range(page):
    recipes = {f"model.layers.{n}.mlp.up.weight": normal(f"model.layers.{n}.mlp.up.weight") for n in range(12)}
    (only,) = tables(page(recipes))
    assert only == [
        'name = "model.layers.{layer:0..11}.mlp.up.weight"',
        "shape = [4, 6]",
        'init = "normal"',
    ]


def test_ranges_are_called_as_what_comes_before(page):
    recipes = {f"layer4.{n}.bn{k}.w": normal(f"layer4.{n}.bn{k}.w") for n in range(2) for k in (1, 2)}
    recipes |= {f"{n}.{k}": normal(f"{n}.{k}") for n in range(3) for k in range(2)}
    recipes |= {f"max.{n}": normal(f"max.{n}") for n in range(2)}
    assert [block[0] for block in tables(page(recipes))] == [
        'name = "layer4.{layer:0..1}.bn{bn:1..2}.w"',
        'name = "{n:0..2}.{n_:0..1}"',
        'name = "max.{max_:0..1}"',
    ]


def test_parts_follow_the_name_of_their_tensor_and_experts_run_on(page):
    def experts(n):
        parts = [normal(f"h.{n}.experts.{k}.{half}", (2, 6)) for half in ("up", "gate") for k in range(64)]
        return fi.concatenate([fi.stack(parts[:64]), fi.stack([part.T.T for part in parts[64:]])], axis=1)

    (only,) = tables(page({f"h.{n}.experts": experts(n) for n in range(3)}))
    assert only[0] == 'name = "h.{h:0..2}.experts"'
    shown = "\n".join(only)
    assert '{ name = "h.{h}.experts.{expert:0..63}.up", shape = [2, 6], init = "normal" },' in shown
    assert '{ name = "{expert:0..63}", transpose = { transpose = { name = "h.{h}.experts.{expert}.gate",' in shown


def test_runs_of_parts_keep_their_digits(page):
    parts = [normal(f"w.{k:02}") for k in range(8, 12)] + [normal(f"v.{k}") for k in range(8, 12)]
    text = page({"w": fi.stack([*parts, normal("v.012"), normal("v.013")])})
    assert '"w.{w:08..11}"' in text
    assert '"v.{v:8..11}"' in text
    assert '"v.{v:012..013}"' in text
    twice = page({"w": fi.stack([normal(f"w.{k}.{k}") for k in range(3)])})  # a part's name has its range once
    assert [f'"w.{k}.{k}"' in twice for k in range(3)] == [True] * 3
    composed = page({"w": fi.stack([normal(f"w.{k}.{k}").T for k in range(3)])})
    assert '{ name = "{w:0..2}", transpose = { name = "w.{w}.{w}",' in composed


def test_seeds_dtypes_and_axes_that_most_have_stand_at_the_top_once(page):
    given = {"seed": 5, "dtype": "bfloat16", "in_axis": 1, "out_axis": 0}
    recipes = {name: fi.recipe("he_normal", (8, 4), name=name, **given) for name in "abc"}
    recipes["d"] = fi.recipe("he_normal", (8, 4), seed=2**60, name="d")
    text = page(recipes)
    assert text.splitlines()[1:5] == ["seed = 5", 'dtype = "bfloat16"', "in_axis = 1", "out_axis = 0"]
    assert tables(text)[0] == ['name = "a"', "shape = [8, 4]", 'init = "he_normal"']
    assert tables(text)[3][2:] == [
        'dtype = "float32"',
        f'seed = "{2**60}"',
        'init = "he_normal"',
        "in_axis = 0",
        "out_axis = 1",
    ]


def test_copies_say_what_they_are_drawn_as(page):
    first = normal("layers.0.w")
    text = page({f"layers.{n}.w": first for n in range(6)})
    assert [block[:2] for block in tables(text)] == [
        ['name = "layers.0.w"', "shape = [4, 6]"],
        ['name = "layers.{layer:1..5}.w"', 'drawn_as = "layers.0.w"'],
    ]


def test_the_same_random_numbers_twice_are_said_to_be_meant(page):
    a = normal("a")
    assert page({"w": fi.stack([a, a])}).count("again = true") == 1
    assert page({"w": fi.stack([a, fi.recipe("uniform", (4, 6), seed=0, name="a")])}).count("again = true") == 2
    assert page({"a": a, "w": fi.stack([normal("a", (6, 4)).T, normal("b")])}).count("again = true") == 1
    assert page({f"w.{n}": fi.stack([a, normal(f"w.{n}")]) for n in range(3)}).count("again = true") == 1
    assert "again" not in page({"a": a, "w": fi.stack([a, normal("b")])})


def test_at_counts_as_numpy_does(page):
    w = normal("w", (5, 6))
    for index in (np.s_[0], np.s_[-1], np.s_[1:3], np.s_[::-1], np.s_[4::-2, 3], np.s_[2:2], np.s_[:, 1:2]):
        page({"part": fi.stack([w.part(index)]), "hole": fi.paste(w, index, fi.recipe("ones", w[index].shape, seed=0))})
    assert "at = [0]" in page({"hole": fi.paste(w, np.s_[0], fi.recipe("zeros", (6,), seed=0))})


def test_names_of_any_text_but_braces(page):
    names = [
        "",
        " ",
        '"',
        "a\\b",
        "é",
        "☃",
        "\U0001f600",
        "'''",
        "a#1",
        "# x",
        "x = 1",
        "[[tensors]]",
        "٣.w",
        "1.w",
        "2.w",
    ]
    names += [f"n{10**12 + k}" for k in range(3)] + [f"p.{k:02}" for k in range(9, 12)] + [f"q{k}" for k in (1, 2, 4)]
    recipes = {name: normal(name) for name in names}
    page(recipes | {"inner": fi.stack([normal(name) for name in [*names, "\0", "\n", "\x7f", "\x85", "\\"]])})


def test_a_part_of_all_of_a_tensor_and_a_part_by_itself(page, tmp_path):
    w = normal("w")
    whole = fi.Recipe.from_dict(
        {"stream": 1, "part": {k: v for k, v in w.to_dict().items() if k != "stream"}, "at": [[0, 4, 1], [0, 6, 1]]}
    )
    assert whole != w
    page({"w": whole})
    dump_manifest(tmp_path / "part.toml", {"p": w.part(np.s_[1:3]), "w": w.part(...)})
    assert load_manifest(tmp_path / "part.toml") == {"p": w.part(np.s_[1:3]), "w": w}


# ---- literals -----------------------------------------------------------------------------------------------------


def beside(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".safetensors")


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_literals_lie_beside_the_manifest_each_once(tmp_path, page, dtype):
    values = np.arange(6).astype(DTYPES[dtype])
    recipes = {f"layers.{n}.freq": fi.literal(values) for n in range(4)}
    recipes["other"] = fi.paste(normal("other", (6,), dtype=dtype), np.s_[:2], fi.literal(values[4:]))
    recipes["empty"], recipes["number"] = fi.literal(values[:0]), fi.literal(values[3])
    text = page(recipes)
    (name,) = beside(tmp_path)
    digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert name == f"m.literals-{digest[:16]}.safetensors"
    assert f'[literals]\nfile = "{name}"\nsha256 = "{digest}"\n' in text
    assert tables(text)[0] == ['name = "layers.{layer:0..3}.freq"', 'literal = "layers.0.freq"', "shape = [6]"]
    assert bool(fi.checkpoint.verify(tmp_path / name))


def test_literals_that_differ_follow_the_names(tmp_path, page):
    recipes = {f"layers.{n}.freq": fi.literal(np.full(3, n, "f4")) for n in range(4)}
    recipes["two"] = fi.stack([fi.literal(np.full(3, n, "f4")) for n in (10, 11)])
    text = page(recipes)
    assert tables(text)[0][:2] == ['name = "layers.{layer:0..3}.freq"', 'literal = "layers.{layer}.freq"']


def test_another_dtype_rounds_the_literals_that_say_none(tmp_path):
    values = np.array([1 / 3, -2.5, 1e-3, 7], np.float32)
    recipes = {
        "w": normal("w"),
        "table": fi.literal(values),
        "padded": fi.paste(normal("padded"), np.s_[0, :4], fi.literal(values)),
        "buffer": fi.literal(values.astype(np.float16)),
    }
    dump_manifest(tmp_path / "m.toml", recipes)
    found = load_manifest(tmp_path / "m.toml", dtype="bfloat16")
    half = values.astype(DTYPES["bfloat16"])
    assert found["table"] == fi.literal(half)
    padded = fi.recipe("normal", (4, 6), seed=0, name="padded", dtype="bfloat16")
    assert found["padded"] == fi.paste(padded, np.s_[0, :4], fi.literal(half))
    assert found["buffer"] == recipes["buffer"]  # its table says float16


def test_bits_of_literals_are_kept(page):
    odd = np.array([0x7FC00001, 0xFFC12345, 0x7F800001, 0x80000000, 1], np.uint32).view(np.float32)
    page({"odd": fi.literal(odd)})


def test_a_changed_or_missing_file_of_literals_is_refused(tmp_path):
    path = tmp_path / "m.toml"
    dump_manifest(path, {"w": fi.literal(np.arange(4.0))})
    file = tmp_path / beside(tmp_path)[0]
    held = bytearray(file.read_bytes())
    held[-1] ^= 1
    file.write_bytes(held)
    with pytest.raises(ManifestError, match="is not the file that belongs to the manifest, by its SHA-256"):
        load_manifest(path)
    file.unlink()
    with pytest.raises(ManifestError, match="No such file"):
        load_manifest(path)


@pytest.mark.parametrize(
    ("top", "table", "message"),
    [
        ("", "literal = 'w'", "literals is missing at the top"),
        ("literals = 'x.safetensors'", "literal = 'w'", "a table of file and sha256"),
        ("literals = { file = '../x', sha256 = '' }", "literal = 'w'", "the name of a file beside the manifest"),
        ("LITERALS", "literal = 'v'", "no 'v'; "),
        ("LITERALS", "literal = 3", "must be the name of a tensor in the file of literals"),
        ("LITERALS", "literal = '{layer}'", "no named range"),
        ("LITERALS", "literal = 'w'\nshape = [5]", r"its shape is \[4\]"),
        ("LITERALS", "literal = 'w'\ndtype = 'float32'", "its dtype is float64"),
        ("LITERALS", "literal = 'w'\ninit = 'zeros'", "one of literal, init"),
        ("", "shape = [2]\ninit = 'normal'\ndrawn_as = 3", "drawn_as must be the name"),
        ("", "shape = [2]\ninit = 'normal'\ndrawn_as = '{x}'", "no named range"),
        ("", "reshape = { name = 'a', shape = [4], init = 'normal' }", "shape is missing"),
        ("", "reshape = { name = 'a', shape = [4], init = 'normal' }\nshape = [3]", "cannot be reshaped"),
        ("", "part = { name = 'a', shape = [4], init = 'normal' }", "at is missing"),
        ("", "part = { name = 'a', shape = [4], init = 'normal' }\nat = [9]", "out of bounds"),
        ("", "stack = [{ name = 'a', shape = [4], init = 'normal', again = 1 }]", "again must be true or false"),
    ],
)
def test_mistakes_in_what_it_writes_are_said(tmp_path, top, table, message):
    dump_manifest(tmp_path / "first.toml", {"w": fi.literal(np.arange(4.0))})
    written = (tmp_path / "first.toml").read_text()
    top = written[written.index("[literals]") : written.index("[[tensors]]")] if top == "LITERALS" else top
    (tmp_path / "m.toml").write_text(f"seed = 0\n{top}\n[[tensors]]\nname = 'x'\n{table}\n")
    with pytest.raises(ManifestError, match=message):
        load_manifest(tmp_path / "m.toml")


# ---- formulas -----------------------------------------------------------------------------------------------------


def layers(std, count=8, name="layers.{}.w", **more):
    return {name.format(n): normal(name.format(n), std=std(n), **more) for n in range(count)}


@pytest.mark.parametrize(
    ("std", "formula"),
    [
        (lambda n: 0.02 / math.sqrt(2 * (n + 1)), "0.02 / sqrt(2 * (layer + 1))"),
        (lambda n: 0.006 / math.sqrt(n + 1), "0.006 / sqrt(layer + 1)"),
        (lambda n: 1 / (n + 1), "1 / (layer + 1)"),
        (lambda n: 0.02 / math.sqrt(2 * n) if n else 0.5, None),
        (lambda n: 3 * n, "3 * layer"),
        (lambda n: math.pi * math.sqrt(n + 1), f"{math.pi} * sqrt(layer + 1)"),
        (lambda n: 0.1 + 0.3 * math.sin(n) ** 2, None),
        (lambda n: math.nextafter(0.02 / math.sqrt(2 * (n + 1)), n % 2), None),
    ],
)
def test_numbers_that_run_with_the_layer_are_formulas_where_they_are_right_to_the_last_bit(page, std, formula):
    found = tables(page(layers(std)))
    if formula is None:
        assert len(found) == 8
    else:
        assert found == [['name = "layers.{layer:0..7}.w"', "shape = [4, 6]", 'init = "normal"', f'std = "{formula}"']]


def test_a_number_may_follow_from_another_and_parts_have_formulas_too(page):
    recipes = {}
    for n in range(4):
        std = 0.3 / math.sqrt(2 * (n + 1))
        given = {"std": std, "lower": -2 / std, "upper": 2 / std, "seed": 0}
        recipes[f"h.{n}.a"] = fi.recipe("truncated_normal", (4, 6), name=f"h.{n}.a", **given)
        parts = [normal(f"h.{n}.{k}.up", std=std) for k in range(12)]
        recipes[f"h.{n}.experts"] = fi.stack([*parts, normal(f"h.{n}.last")])
    first, second = tables(page(recipes))
    assert 'std = "0.3 / sqrt(2 * (h + 1))"' in first
    assert 'upper = "2 / (0.3 / sqrt(2 * (h + 1)))"' in first
    assert (
        '    { name = "h.{h}.{h_:0..11}.up", shape = [4, 6], init = "normal", std = "0.3 / sqrt(2 * (h + 1))" },'
        in second
    )


def test_formulas_need_three_layers_and_names_that_differ_there_alone(page):
    assert len(tables(page(layers(lambda n: 1 / (n + 1), 2)))) == 2
    experts = {}
    for k in range(5):
        experts |= layers(lambda n: 1 / (n + 1), 4, f"layers.{{}}.experts.{k}.w")
    (only,) = tables(page(experts))
    assert only[0] == 'name = "layers.{layer:0..3}.experts.{expert:0..4}.w"'
    assert only[-1] == 'std = "1 / (layer + 1)"'
    both = layers(lambda n: 0.02, 4, "layers.{}.w1") | layers(lambda n: 0.02 / (n + 1), 4, "layers.{}.w3")
    assert [block[0] for block in tables(page(both))] == [
        'name = "layers.{layer:0..3}.w1"',
        'name = "layers.{layer:0..3}.w3"',
    ]
