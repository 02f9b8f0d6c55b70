"""What plan and show say of tensors that are made of others."""

import json

import numpy as np
import pytest

import fastinit as fi
from fastinit.cli_tables import plan_json, plan_rows
from fastinit.outline import described, fans_of, outline

pytest.importorskip("rich")
click_testing = pytest.importorskip("click.testing")


def tensor(name="w", shape=(8, 6), init="normal", **more):
    return fi.recipe(init, shape, seed=0, name=name, **({"std": 0.5} | more if init == "normal" else more))


def words(recipe):
    return described(recipe.to_dict(), recipe.to_dict())


a, b, z = tensor("a"), tensor("b"), tensor("z", init="zeros")
he = {"init": "he_normal", "in_axis": 1, "out_axis": 0}


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (fi.concatenate([a, b, a]), "concatenate of 3: normal(std=0.5)"),
        (fi.concatenate([a, b], axis=1, groups=2), "concatenate of 2, axis=1, groups=2: normal(std=0.5)"),
        (fi.stack([a, z]), "stack of 2: normal(std=0.5), zeros"),
        (fi.stack([a, z, tensor(init="ones")]), "stack of 3"),
        (fi.stack([tensor(std=0.125 * n) for n in range(1, 5)]), "stack of 4"),
        (a.T, "transpose: normal(std=0.5)"),
        (tensor(shape=(2, 3, 4)).transpose(1, 2, 0), "transpose, axes=(1, 2, 0): normal(std=0.5)"),
        (a.reshape(6, 8), "reshape: normal(std=0.5)"),
        (
            fi.paste(a, np.s_[0], tensor("row", (6,), "zeros")),
            "paste: zeros onto normal(std=0.5)",
        ),
        (fi.concatenate([a, b.part(np.s_[2:4])]), "concatenate of 2: normal(std=0.5), part: normal(std=0.5)"),
        (fi.literal(np.ones(3, np.float32)), "literal"),
        (
            fi.stack([fi.concatenate([a, b]), fi.concatenate([b, a])], axis=1),
            "stack of 2, axis=1: concatenate of 2: normal(std=0.5)",
        ),
        (fi.stack([tensor(**he, negative_slope=0.25, gain=1.5, fan_in=1000)]), "stack of 1"),
        (tensor(**he), "he_normal(in_axis=(1,), out_axis=(0,))"),
    ],
)
def test_words(recipe, expected):
    assert words(recipe) == expected


def test_fans_are_those_of_all_parts_that_have_them():
    one, same, other = tensor("a", **he), tensor("b", **he), tensor("c", (8, 7), **he)
    assert fans_of(one.to_dict()) == (6, 8)
    assert fans_of(fi.concatenate([one, same]).to_dict()) == (6, 8)
    assert fans_of(fi.paste(one, np.s_[0], tensor("row", (6,), "zeros")).T.to_dict()) == (6, 8)
    assert fans_of(fi.concatenate([one, other], axis=1).to_dict()) == (None, None)
    assert fans_of(fi.concatenate([a, b]).to_dict()) == (None, None)
    assert fans_of(fi.literal(np.ones(3, np.float32)).to_dict()) == (None, None)


def rows(recipes, every=False):
    return [(row[0], row[1], row[4], row[7]) for row in plan_rows(recipes, every)]


def layers(make, count=4):
    return {f"h.{n}.w": make(n) for n in range(count)}


def test_families_of_composed_tensors():
    fused = layers(lambda n: fi.concatenate([tensor(f"{n}.q"), tensor(f"{n}.k")], groups=2))
    label = "concatenate of 2, groups=2: normal(std=0.5)"
    assert rows(fused) == [("h.{0..3}.w", "x4", label, "0.5")]
    assert rows(fused, every=True) == [(name, "", label, "0.5") for name in fused]


def test_a_number_that_runs_with_the_name():
    found = rows(layers(lambda n: fi.stack([tensor(f"{n}.{k}", std=0.5 / (n + 1)) for k in range(3)])))
    assert found == [("h.{0..3}.w", "x4", "stack of 3: normal(std=0.5 to 0.125)", "0.5 to 0.125")]


@pytest.mark.parametrize(
    "other",
    [
        fi.concatenate([a, b, a]),
        fi.concatenate([a, b], groups=2),
        fi.concatenate([a, z]),
        fi.concatenate([z, a]),
        fi.concatenate([a, tensor("b", std=0.25)]),
        fi.concatenate([a.reshape(8, 6), b]),
        fi.concatenate([a, tensor("b", init="truncated_normal", std=0.5)]),
        fi.stack([a, b]).reshape(16, 6),
        fi.literal(np.zeros((16, 6), np.float32)),
    ],
)
def test_tensors_that_differ_stay_apart(other):
    fused = fi.concatenate([a, b])
    found = rows({"h.0.w": fused, "h.1.w": other})
    assert [name for name, *_ in found] == ["h.0.w", "h.1.w"]
    assert outline(fused.to_dict()) == outline(fi.concatenate([b, a]).to_dict())


def test_how_often_a_part_is_there_counts():
    short, long = tensor("a", (2, 6)), tensor("b", (4, 6))
    made = {
        "h.0": fi.concatenate([short, short, long, long]),
        "h.1": fi.concatenate([short, short, short, short, long]),
    }
    assert [row[2] for row in rows(made)] == ["concatenate of 4: normal(std=0.5)", "concatenate of 5: normal(std=0.5)"]


def test_literals_of_other_values_stay_apart():
    found = rows({f"h.{n}": fi.literal(np.full(4, n // 2, np.float32)) for n in range(4)})
    assert [name for name, *_ in found] == ["h.{0..1}", "h.{2..3}"]


def test_json():
    fused = fi.concatenate([tensor("a", **he), tensor("b", **he)], groups=2)
    said = json.loads(json.dumps(plan_json("w", fused)))
    assert said["initializer"] == "concatenate"
    assert (said["fan_in"], said["fan_out"], said["shape"], said["dtype"]) == (6, 8, [16, 6], "float32")
    assert said["std"] == fused.std
    assert said["bounds"] == list(fused.bounds)
    assert said["bytes"] == 16 * 6 * 4
    assert fi.Recipe.from_dict(said["recipe"]) == fused


MANIFEST = """
seed = 0
dtype = "bfloat16"

[[tensors]]
name = "h.{layer:0..2}.qkv"
groups = 2
concatenate = [{ name = "h.{layer}.{q,k,v}", shape = [4, 6], init = "normal", std = 0.5 }]
"""


@pytest.fixture
def command(tmp_path):
    from fastinit.cli import app

    (tmp_path / "m.toml").write_text(MANIFEST)

    def run(name, *arguments):
        result = click_testing.CliRunner().invoke(app, [name, str(tmp_path / "m.toml"), *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_plan(command):
    told = command("plan")
    assert "h.{0..2}.qkv" in told
    assert "concatenate of 3, groups=2: normal(std=0.5)" in told
    assert "3 tensors, 216 parameters" in told
    assert command("plan", "--all").count("concatenate of 3, groups=2") == 3
    tensors = json.loads(command("plan", "--json"))["tensors"]
    assert [t["initializer"] for t in tensors] == ["concatenate"] * 3


def test_show(command):
    told = command("show", "h.1.qkv[2:4]")
    assert told.startswith("h.1.qkv[2:4]: shape 2 x 6 of 12 x 6, bfloat16")
    assert "made of others: concatenate of 3, groups=2: normal(std=0.5)" in told
    assert "by its recipe: std 0.5, within [" in told
    said = json.loads(command("show", "h.1.qkv[2:4]", "--json"))
    alone = fi.recipe("normal", (4, 6), std=0.5, seed=0, dtype="bfloat16", name="h.1.k")[:2]
    bits = (np.array(said["values"], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    np.testing.assert_array_equal(bits, alone.view(np.uint16))
    assert "made of others" not in command("show", "h.1.qkv[2:4]", "--quiet")
