"""Tables within tables in manifests: what they make, what parts inherit and insert, every mistake at once."""

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import fastinit as fi
from fastinit.checkpoint import ManifestError, load_manifest
from fastinit.checkpoint.keys import MOST_MISTAKES
from fastinit.checkpoint.names import Names, inserted

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def load(tmp_path):
    """The lines of a manifest, as recipes."""

    def run(*lines, top="seed = 0", **options):
        (tmp_path / "m.toml").write_text("\n".join([top, *lines]), encoding="utf-8")
        return load_manifest(tmp_path / "m.toml", **options)

    return run


@pytest.fixture
def mistakes(load):
    """The mistakes of a manifest of these lines, without the file's name."""

    def run(*lines, **options):
        with pytest.raises(ManifestError) as caught:
            load(*lines, **options)
        assert all("\n" not in line and len(line) < 1500 for line in caught.value.mistakes)
        return [line.partition("m.toml: ")[2] for line in caught.value.mistakes]

    return run


def table(name, *lines):
    return "\n".join(["[[tensors]]", f"name = '{name}'", *lines])


def part(name, shape=(4, 6), init="normal", **more):
    """An inline table."""
    more = {"std": 0.5} | more if init == "normal" else more
    shown = "".join(f", {key} = {value!r}" for key, value in more.items())
    return f"{{ name = '{name}', shape = {list(shape)}, init = '{init}'{shown} }}"


def made(name, shape=(4, 6), init="normal", seed=0, **more):
    """The recipe of `part`."""
    more = {"std": 0.5} | more if init == "normal" else more
    return fi.recipe(init, shape, seed=seed, name=name, **more)


Q, K, V = (part(name) for name in "qkv")
q, k, v = (made(name) for name in "qkv")


# ---- what they make ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "recipe"),
    [
        ([f"concatenate = [{Q}, {K}, {V}]"], lambda: fi.concatenate([q, k, v])),
        ([f"concatenate = [{Q}, {K}]", "axis = 1"], lambda: fi.concatenate([q, k], axis=1)),
        ([f"concatenate = [{Q}, {K}]", "axis = -1"], lambda: fi.concatenate([q, k], axis=1)),
        ([f"concatenate = [{Q}, {K}]", "groups = 2"], lambda: fi.concatenate([q, k], groups=2)),
        ([f"stack = [{Q}, {K}]"], lambda: fi.stack([q, k])),
        ([f"stack = [{Q}, {K}]", "axis = 2"], lambda: fi.stack([q, k], axis=2)),
        ([f"transpose = {Q}"], lambda: q.T),
        ([f"transpose = {part('c', (2, 3, 4))}", "axes = [1, 2, 0]"], lambda: made("c", (2, 3, 4)).transpose(1, 2, 0)),
        (
            [f"paste = {part('z', (6,), 'zeros')}", f"onto = {Q}", "at = [0]"],
            lambda: fi.paste(q, np.s_[0], made("z", (6,), "zeros")),
        ),
        (
            [f"paste = {part('z', (2, 3), 'ones')}", f"onto = {Q}", "at = [[0, 4, 2], [1, 4]]"],
            lambda: fi.paste(q, np.s_[0:4:2, 1:4], made("z", (2, 3), "ones")),
        ),
        (
            [f"stack = [{{ transpose = {Q} }}, {{ concatenate = [{part('a', (2, 4))}, {part('b', (4, 4))}] }}]"],
            lambda: fi.stack([q.T, fi.concatenate([made("a", (2, 4)), made("b", (4, 4))])]),
        ),
    ],
)
def test_a_table_is_what_the_function_makes(load, lines, recipe):
    found = load(table("w", *lines))
    assert found == {"w": recipe()}
    np.testing.assert_array_equal(found["w"][...], recipe()[...])


def test_tables_written_out_are_inline_tables(load):
    rows = ["[[tensors.concatenate]]", "name = 'q'", "shape = [4, 6]", "init = 'normal'", "std = 0.5"]
    assert load(table("w", *rows)) == {"w": fi.concatenate([q])}


def test_a_part_inserts_the_number_of_a_range_around_it(load):
    parts = [part("h.{layer}.q", std="0.02 / sqrt(2 * (layer + 1))"), part("h.{layer}.k")]
    found = load(table("h.{layer:08..10}.qkv", f"concatenate = [{', '.join(parts)}]"))
    assert list(found) == ["h.08.qkv", "h.09.qkv", "h.10.qkv"]
    for layer in (8, 9, 10):
        std = 0.02 / math.sqrt(2 * (layer + 1))
        parts = [made(f"h.{layer:02}.q", std=std), made(f"h.{layer:02}.k")]
        assert found[f"h.{layer:02}.qkv"] == fi.concatenate(parts)


def test_the_braces_of_a_part_expand_in_place(load):
    listed = (
        f"[{part('h.{layer}.{expert:0..2}.{up,gate}', std='(layer + 1) * (expert + 1)')}, {part('h.{layer}.last')}]"
    )
    found = load(table("h.{layer:0..1}", f"stack = {listed}"))
    for layer in (0, 1):
        parts = [
            made(f"h.{layer}.{expert}.{word}", std=float((layer + 1) * (expert + 1)))
            for expert in range(3)
            for word in ("up", "gate")
        ]
        assert found[f"h.{layer}"] == fi.stack([*parts, made(f"h.{layer}.last")])


def test_the_name_of_a_composed_part_is_for_its_ranges_alone(load):
    inner = f"{{ name = 'any {{expert:0..3}}', concatenate = [{part('{expert}.up')}, {part('{expert}.gate')}] }}"
    expected = [fi.concatenate([made(f"{expert}.up"), made(f"{expert}.gate")]) for expert in range(4)]
    assert load(table("w", f"stack = [{inner}]")) == {"w": fi.stack(expected)}


def test_parts_inherit_seed_dtype_and_axes(load):
    """From the table around them, else from that around it, else from the top; their own stay."""
    he = {"init": "he_normal"}
    found = load(
        table("a", f"concatenate = [{part('a.0', **he)}, {part('a.1', **he, seed=5, in_axis=0, out_axis=1)}]"),
        table(
            "b", "seed = 8", "dtype = 'float64'", "in_axis = 0", "out_axis = 1", f"concatenate = [{part('b.0', **he)}]"
        ),
        table("c", "seed = 9", f"stack = [{{ transpose = {part('c.0', **he)}, out_axis = 1, in_axis = 0 }}]"),
        top="seed = 7\ndtype = 'float16'\nin_axis = 1\nout_axis = 0",
    )
    top, other = {"in_axis": 1, "out_axis": 0, "dtype": "float16"}, {"in_axis": 0, "out_axis": 1}
    a = [made("a.0", **he, seed=7, **top), made("a.1", **he, seed=5, **(top | other))]
    assert found["a"] == fi.concatenate(a)
    assert found["b"] == fi.concatenate([made("b.0", **he, seed=8, **other, dtype="float64")])
    assert found["c"] == fi.stack([made("c.0", **he, seed=9, **(top | other)).T])


def test_seed_and_dtype_of_the_call_stand_for_those_at_the_top(load):
    lines = [table("a", f"concatenate = [{Q}, {part('k', seed=4)}]"), table("b", "dtype = 'float16'", f"stack = [{V}]")]
    found = load(*lines, seed=3, dtype="float64")
    assert found["a"] == fi.concatenate([made("q", seed=3, dtype="float64"), made("k", seed=4, dtype="float64")])
    assert found["b"] == fi.stack([made("v", seed=3, dtype="float16")])


def test_a_shape_that_agrees_may_be_there(load):
    inner = f"{{ shape = [6, 4], transpose = {Q} }}"
    assert load(table("w", "shape = [1, 6, 4]", f"stack = [{inner}]")) == {"w": fi.stack([q.T])}


def test_an_output_head_is_the_transpose_of_the_embedding(load):
    found = load(
        table("emb", "shape = [5, 6]", "init = 'normal'", "std = 0.5"),
        table("head", f"transpose = {part('emb', (5, 6))}"),
    )
    np.testing.assert_array_equal(found["head"][...], found["emb"][...].T)


def test_constant_parts_may_share_a_name_among_layers_and_in_a_tensor(load):
    zero = part("zero", (1, 6), "zeros")
    found = load(table("h.{layer:0..2}", f"concatenate = [{zero}, {part('h.{layer}.q')}, {zero}]"))
    zeros = made("zero", (1, 6), "zeros")
    assert found["h.1"] == fi.concatenate([zeros, made("h.1.q"), zeros])


# ---- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["concatenate = []"], "concatenate must be a list of tables"),
        ([f"stack = {Q}"], "stack must be a list of tables"),
        (["stack = [3]"], "stack 1: a part is a table, as in {"),
        (["transpose = 'q'"], "transpose: a part is a table"),
        ([f"concatenate = [{Q}]", "groups = 1.5"], "groups must be an integer, not 1.5"),
        ([f"concatenate = [{Q}]", "axis = true"], "axis must be an integer, not True"),
        ([f"concatenate = [{Q}]", "axis = 2"], "axis 2 is out of bounds"),
        ([f"concatenate = [{Q}, {K}]", "groups = 3"], "3 groups do not divide"),
        ([f"stack = [{Q}]", "groups = 1"], "unknown key 'groups'"),
        ([f"stack = [{Q}]", "std = 1.0"], "unknown key 'std'"),
        ([f"stack = [{Q}]", f"concatenate = [{Q}]"], "a tensor is one of concatenate, stack, not all of them"),
        ([f"stack = [{Q}]", "init = 'zeros'"], "a tensor is one of stack, init, not all of them"),
        ([f"stack = [{Q}]", "shape = [4, 6]"], "its shape is [1, 4, 6], not [4, 6]"),
        ([f"stack = [{Q}]", "shape = [-1]"], "negative"),
        ([f"stack = [{Q}, {part('k', (4, 7))}]"], "equal shapes"),
        ([f"stack = [{Q}, {part('k', dtype='float64')}]"], "one dtype"),
        (
            ["dtype = 'float64'", f"stack = [{part('k', dtype='float16')}]"],
            "its dtype is float16, as its parts say, not float64",
        ),
        ([f"stack = [{Q}]", "dtype = 'float23'"], "unknown dtype 'float23'"),
        ([f"stack = [{Q}]", "seed = -1"], "seed"),
        ([f"stack = [{Q}]", "in_axis = 'x'"], "in_axis"),
        ([f"stack = [{part('q', init='normall')}]"], "stack 1 ('q'): unknown initializer"),
        ([f"stack = [{part('q', std=-1.0)}]"], "stack 1 ('q'): normal: std must not be negative"),
        ([f"stack = [{part('q', stdd=1.0)}]"], "stack 1 ('q'): unknown key 'stdd'"),
        (["stack = [{ shape = [2], init = 'zeros' }]"], "stack 1: name is missing"),
        (["stack = [{ name = 3, shape = [2], init = 'zeros' }]"], "stack 1: name must be text, not 3"),
        (["stack = [{ name = 'a', init = 'zeros' }]"], "stack 1 ('a'): shape is missing"),
        (["stack = [{ name = 'a', shape = [2] }]"], "stack 1 ('a'): init is missing"),
        ([f"stack = [{Q}, {Q}]"], "part 'q' is there already, and both would have the same values"),
        ([f"stack = [{part('{layer}')}]"], "'{layer}' has {layer}, which is no named range of a table around it"),
        ([f"stack = [{part('q', std='layer')}]"], "unknown word 'layer'"),
        ([f"stack = [{part('q', std='1 / (shape[0] - 4)')}]"], "division by zero"),
        ([f"transpose = {part('{q,k}')}"], "this is one tensor, and the name '{q,k}' stands for 2"),
        ([f"transpose = {Q}", "axes = [0]"], "axes"),
        ([f"transpose = {Q}", "axes = [0, 0]"], "axes"),
        ([f"transpose = {Q}", "axes = 1"], "axes must be a list of integers, not 1"),
        ([f"transpose = {Q}", "axes = [true, 0]"], "axes must be a list of integers"),
        ([f"paste = {Q}", "at = [0]"], "onto is missing"),
        ([f"paste = {Q}", f"onto = {K}"], "at is missing"),
        ([f"onto = {K}", "at = [0]"], "paste is missing"),
        ([f"paste = {Q}", f"onto = {K}", "at = 0"], "at must be a list"),
        ([f"paste = {Q}", f"onto = {K}", "at = [true]"], "at must be a list"),
        ([f"paste = {Q}", f"onto = {K}", "at = [[0]]"], "at must be a list"),
        ([f"paste = {Q}", f"onto = {K}", "at = [[0, 1.5]]"], "at must be a list"),
        ([f"paste = {Q}", f"onto = {K}", "at = [[0, 4, 0]]"], "zero"),
        ([f"paste = {Q}", f"onto = {K}", "at = [4]"], "out of bounds"),
        ([f"paste = {Q}", f"onto = {K}", f"at = [{10**30}]"], ""),
        ([f"paste = {Q}", f"onto = {K}", "at = [0, 0, 0]"], "too many indices"),
        ([f"paste = {Q}", f"onto = {K}", "at = [0]"], "cannot be pasted onto a region of shape"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(mistakes, lines, expected):
    (line,) = mistakes(table("w", *lines))
    assert line.startswith("[[tensors]] 1 ('w'): ")
    assert expected in line


def test_all_mistakes_at_once(mistakes):
    inner = f"{{ concatenate = [{part('a', init='nomal')}, {part('b', (-1,))}] }}"
    lines = mistakes(
        table("w", "axes = [0]", f"stack = [{inner}, {part('c', stdd=1.0)}, 5]"), table("v", "init = 'zeros'")
    )
    places = [
        "[[tensors]] 1 ('w'): unknown key 'axes'",
        "[[tensors]] 1 ('w'): stack 1: concatenate 1 ('a'): unknown initializer 'nomal'",
        "[[tensors]] 1 ('w'): stack 1: concatenate 2 ('b'): ",
        "[[tensors]] 1 ('w'): stack 2 ('c'): unknown key 'stdd'",
        "[[tensors]] 1 ('w'): stack 3: a part is a table",
        "[[tensors]] 2 ('v'): shape is missing",
    ]
    assert len(lines) == len(places)
    for line, place in zip(lines, places):
        assert line.startswith(place)


@pytest.mark.parametrize(
    ("name", "parts", "missing"),
    [
        ("h.{layer:0..1}", [part("q")], "lacks {layer}, without which"),
        ("h.{layer:0..1}", [part("{layer}.q"), part("k")], "concatenate 2 ('k'): the part's name lacks {layer}"),
        ("h.{0..1}", [part("q")], "name it, as in {layer:0..21}"),
        ("{q,k}", [part("q")], "a range without a name"),
        ("w", [f"{{ name = '{{expert:0..1}}', transpose = {part('q')} }}"], "lacks {expert}, without which"),
        (
            "h.{layer:0..1}",
            [f"{{ name = '{{expert:0..1}}', stack = [{part('{expert}')}] }}"],
            "lacks {layer}, without which",
        ),
    ],
)
def test_tensors_that_would_share_a_drawn_part_are_refused(mistakes, name, parts, missing):
    (line,) = mistakes(table(name, f"concatenate = [{', '.join(parts)}]"))
    assert missing in line


def test_one_name_and_seed_stand_for_one_tensor(load, mistakes):
    emb = table("emb", "shape = [5, 6]", "init = 'normal'", "std = 0.5")
    for lines in (
        [emb, table("head", f"transpose = {part('emb', (6, 5))}")],
        [table("head", f"transpose = {part('emb', (5, 6), std=0.25)}"), emb],
        [table("a", f"transpose = {part('x')}"), table("b", f"stack = [{part('x', (5, 6))}]")],
    ):
        (line,) = mistakes(*lines)
        assert "a name and a seed stand for one tensor" in line
    assert len(load(emb, table("head", f"transpose = {part('emb', (6, 5), seed=1)}"))) == 2


def test_names_of_parts_insert_only_what_is_around_them(mistakes):
    (line,) = mistakes(table("h.{layer:0..1}", f"stack = [{part('h.{layr}')}]"))
    assert "{layr}, which is no named range of a table around it; did you mean 'layer'?" in line
    (line,) = mistakes(table("h.{layer:0..1}", f"stack = [{part('h.{layer}.{layer:0..1}')}]"))
    assert "a table around it has a range 'layer' already" in line
    assert inserted("a{b}c{b}{d:0..1}", {"b": "07"}) == "a07c07{d:0..1}"


def test_a_rule_has_no_tables(load, mistakes, tmp_path):
    fi.checkpoint.save(tmp_path / "s.safetensors", {"w": made("w")})
    lines = mistakes("[[rules]]", "match = '*'", f"stack = [{Q}]", top="seed = 0\nshapes_from = 's.safetensors'")
    assert any("init is missing" in line for line in lines)
    assert any("unknown key 'stack'" in line for line in lines)


# ---- hostile manifests ---------------------------------------------------------------------------------------------


def nested(depth, inner):
    return "{ transpose = " * depth + inner + " }" * depth


@pytest.mark.parametrize("depth", [62, 63, 80, 20_000])
def test_nesting(load, mistakes, depth):
    if depth == 62:  # 64 with the outermost and the innermost
        assert load(table("w", f"transpose = {nested(62, Q)}"))["w"].shape == (6, 4)
    else:
        (line,) = mistakes(table("w", f"transpose = {nested(depth, Q)}"))
        assert "nested" in line


def test_more_parts_than_there_may_be(mistakes):
    one = f"stack = [{part('{a:0..999}.{b:0..999}.{c:0..9}')}]"
    (line,) = mistakes(table("w", one))
    assert "more than 1000000 tensors" in line
    outer = table("h.{layer:0..9999}", f"stack = [{part('{layer}.{a:0..999}')}]")
    (line,) = mistakes(outer)
    assert "more than 1000000 tensors" in line
    inner = f"{{ name = '{{b:0..999}}', stack = [{part('{a}{b}{c:0..9}')}] }}"
    (line,) = mistakes(table("w", f"stack = [{{ name = '{{a:0..999}}', stack = [{inner}] }}]"))
    assert "more than 1000000 tensors" in line
    (line,) = mistakes(table("w", f"stack = [{part('{a:0..69999}')}]"))
    assert "at most 65536 tensors" in line


def test_names_of_parts_have_no_more_letters_than_those_of_tensors(mistakes):
    (line,) = mistakes(table("h.{layer:0..999}", f"stack = [{part('{layer}{a:0..99}' + 'x' * 2000)}]"))
    assert "100000000 letters" in line


def test_a_million_mistakes_are_not_all_told(mistakes, tmp_path):
    tracemalloc.start()
    lines = mistakes(table("w", "stack = [" + "{}," * 100_000 + "]"))
    assert len(lines) == MOST_MISTAKES + 1
    assert lines[-1] == "there may be more mistakes; these are enough"
    assert tracemalloc.get_traced_memory()[1] < 200_000_000
    tracemalloc.stop()


def test_a_long_name_is_not_in_the_place_of_every_part(mistakes):
    name = "n" * 1_000_000
    parts = ", ".join(["3"] * 2000)
    lines = mistakes(table(name, f"stack = [{{ name = '{name}', stack = [{parts}] }}]"))
    assert len(lines) == 2000
    assert all(len(line) < 500 for line in lines)
    assert lines[7].endswith("stack 8: a part is a table, as in { name = 'q.weight', shape = [8, 8], init = 'normal' }")


def test_names_count_what_is_made_again():
    names = Names()
    names.family("a{0..9}", times=100_000)
    with pytest.raises(ValueError, match="more than 1000000 tensors"):
        names.family("a")
    assert names.too_many
    names = Names()
    names.family("a" * 1000, times=99_999)
    with pytest.raises(ValueError, match="letters"):
        names.family("a" * 1001)


# ---- examples ------------------------------------------------------------------------------------------------------


def test_megatron_gpt():
    recipes = load_manifest(EXAMPLES / "megatron-gpt-8.3b.toml")
    layer = 12 * 3072**2 + 13 * 3072  # Megatron-LM's paper counts 8.3 billion
    assert (
        sum(recipe.size for recipe in recipes.values())
        == 72 * layer + (51200 + 1024) * 3072 + 2 * 3072
        == 8_317_040_640
    )
    assert len(recipes) == 72 * 12 + 4
    qkv = recipes["decoder.layers.71.self_attention.linear_qkv.weight"]
    assert qkv.shape == (9216, 3072)
    for head in (0, 17, 31):
        for kind, name in enumerate("qkv"):
            alone = fi.recipe(
                "normal",
                (3072, 3072),
                std=0.02,
                seed=0,
                dtype="bfloat16",
                name=f"decoder.layers.71.self_attention.{name}.weight",
            )
            first = (3 * head + kind) * 96
            np.testing.assert_array_equal(qkv[first : first + 96, ::512], alone[96 * head : 96 * head + 96, ::512])
    for name in ("self_attention.linear_proj", "mlp.linear_fc2"):
        recipe = recipes[f"decoder.layers.3.{name}.weight"]
        assert recipe.initializer.parameters["std"] == 0.02 / math.sqrt(2 * 72)


def test_deepseek_v3():
    recipes = load_manifest(EXAMPLES / "deepseek-v3.toml")
    assert sum(recipe.size for recipe in recipes.values()) == 671_026_419_200
    shapes = {"gate_up_proj": (256, 4096, 7168), "down_proj": (256, 7168, 2048)}
    for layer in (3, 60):
        for name, shape in shapes.items():
            assert recipes[f"model.layers.{layer}.mlp.experts.{name}"].shape == shape
    prefix = "model.layers.60.mlp.experts"
    alone = {
        (expert, name): fi.recipe(
            "normal",
            (7168, 2048) if name == "down" else (2048, 7168),
            std=0.006,
            seed=0,
            dtype="bfloat16",
            name=f"{prefix}.{expert}.{name}_proj.weight",
        )
        for expert in (0, 255)
        for name in ("gate", "up", "down")
    }
    gate_up, down = recipes[f"{prefix}.gate_up_proj"], recipes[f"{prefix}.down_proj"]
    for expert in (0, 255):
        np.testing.assert_array_equal(gate_up[expert, 2047, :99], alone[expert, "gate"][2047, :99])
        np.testing.assert_array_equal(gate_up[expert, 2048:, 7000], alone[expert, "up"][:, 7000])
        np.testing.assert_array_equal(down[expert, 7000:, 5], alone[expert, "down"][7000:, 5])
    assert "model.layers.2.mlp.experts.down_proj" not in recipes
