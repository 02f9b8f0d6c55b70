"""Manifests as files: marks and encodings, sizes before memory, and what files of shapes may hold."""

import codecs
import tracemalloc
from pathlib import Path

import pytest

import fastinit as fi
from fastinit.checkpoint import ManifestError, load_manifest, manifest, names
from test_header import raw

TEXT = 'seed = 0\n[[tensors]]\nname = "é"\nshape = [2]\ninit = "zeros"\n'


def test_a_mark_before_utf_8_is_no_part_of_the_text(tmp_path):
    path = tmp_path / "m.toml"
    path.write_bytes(codecs.BOM_UTF8 + TEXT.encode())
    assert load_manifest(path) == {"é": fi.recipe("zeros", 2, seed=0, name="é")}
    path.write_bytes(codecs.BOM_UTF8 * 2 + TEXT.encode())
    with pytest.raises(ManifestError, match="no TOML"):
        load_manifest(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_other_encodings_are_named(tmp_path, encoding):
    path = tmp_path / "m.toml"
    path.write_bytes(TEXT.encode(encoding))
    with pytest.raises(ManifestError, match=r"m\.toml: it is UTF-16 or UTF-32, and TOML is UTF-8"):
        load_manifest(path)


def test_a_manifest_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "LONGEST", 100)
    (tmp_path / "m.toml").write_text(TEXT + " " * 100)
    with pytest.raises(ManifestError, match="longer than 100 bytes"):
        load_manifest(tmp_path / "m.toml")


TENSOR = '[[tensors]]\nshape = [2]\ninit = "zeros"\nname = '


@pytest.mark.parametrize(
    "braces",
    [
        ["{0..999}" + "x" * 500],
        ["{0..9}" + "x" * 10_001],
        ["{" + "x" * 500 + "," + "y" * 500 + "}{0..200}"],
        ["{" + ",".join(["x" * 1000] * 20) + "}" + "{0..9}"],
        ["{0..999}" + "x" * 60, "{00..99}" + "y" * 500],
        ["{0..899}" + "x" * 60, "{00..99}" + "y" * 500],  # letters alone
        ["x{0..599}", "y{0..599}", "z{0..599}"],
    ],
)
def test_names_are_counted_before_they_are_made(tmp_path, monkeypatch, braces):
    """By limits a thousandth of the real ones."""
    assert (names.MOST_TENSORS, names.LONGEST_NAMES) == (1_000_000, 100_000_000)
    monkeypatch.setattr(names, "MOST_TENSORS", 1000)
    monkeypatch.setattr(names, "LONGEST_NAMES", 100_000)
    (tmp_path / "m.toml").write_text("seed = 0\n" + "".join(f"{TENSOR}'{name}'\n" for name in braces))
    tracemalloc.start()
    try:
        with pytest.raises(ManifestError, match=r"names of more than 100000 letters|more than 1000 tensors") as caught:
            load_manifest(tmp_path / "m.toml")
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 3000


def test_a_manifest_of_500_gigabytes_of_names(tmp_path):
    (tmp_path / "m.toml").write_text(f"seed = 0\n{TENSOR}'{{0..999999}}{'x' * 500_000}'\n")
    with pytest.raises(ManifestError, match="names of more than 100000000 letters"):
        load_manifest(tmp_path / "m.toml")


def test_as_many_names_as_any_model_has():
    assert len(names.expand("model.layers.{0..99}.experts.{0..999}.{up,down,gate}_proj.weight")) == 300_000


# ---- dtypes of the file ------------------------------------------------------------------------------------

FP8 = {
    "a": {"dtype": "F8_E4M3", "shape": [2, 2], "data_offsets": [0, 4]},
    "s": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [4, 8]},
    "f": {"dtype": "F4", "shape": [8], "data_offsets": [8, 12]},
    "scaled_fp8": {"dtype": "F8_E4M3", "shape": [0], "data_offsets": [12, 12]},
}


def rules(top="", rule=""):
    return f'seed = 0\nshapes_from = "x.safetensors"\n{top}\n[[rules]]\nmatch = "*"\ninit = "normal"\n{rule}\n'


@pytest.mark.parametrize("where", ["top", "rule", "caller"])
def test_8_bit_floats_take_the_dtype_of_the_manifest(tmp_path, where):
    (tmp_path / "x.safetensors").write_bytes(raw(FP8, bytes(12)))
    text = 'dtype = "bfloat16"'
    (tmp_path / "m.toml").write_text(rules(**({where: text} if where != "caller" else {})))
    recipes = load_manifest(tmp_path / "m.toml", dtype="bfloat16" if where == "caller" else None)
    assert {name: recipe.shape for name, recipe in recipes.items()} == {"a": (2, 2), "s": (4,), "f": (8,), "scaled_fp8": (0,)}  # fmt: skip
    assert {recipe.to_dict()["dtype"] for recipe in recipes.values()} == {"bfloat16"}


def test_8_bit_floats_without_a_dtype_are_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(raw(FP8, bytes(12)))
    (tmp_path / "m.toml").write_text(rules())
    with pytest.raises(ManifestError, match="a: it has dtype F8_E4M3: give a dtype here or at the top, or skip"):
        load_manifest(tmp_path / "m.toml")


@pytest.mark.parametrize("dtype", ["I8", "U8", "BOOL", "I64", "C64"])
def test_integers_need_the_rules_dtype(tmp_path, dtype):
    size = {"I64": 8, "C64": 8}.get(dtype, 1)
    table = {"ids": {"dtype": dtype, "shape": [3], "data_offsets": [0, 3 * size]}}
    (tmp_path / "x.safetensors").write_bytes(raw(table, bytes(3 * size)))
    (tmp_path / "m.toml").write_text(rules(top='dtype = "float32"'))
    with pytest.raises(ManifestError, match=f"ids: it has dtype {dtype}: give the rule a dtype"):
        load_manifest(tmp_path / "m.toml")
    (tmp_path / "m.toml").write_text(rules(rule='dtype = "float32"'))
    assert load_manifest(tmp_path / "m.toml")["ids"].shape == (3,)


def test_a_home_that_is_none_is_a_file_that_is_not_there(tmp_path):
    (tmp_path / "m.toml").write_text(rules().replace("x.safetensors", "~nouser/x.safetensors"))
    with pytest.raises(ManifestError, match=r"shapes_from: .*No such file.*~nouser"):
        load_manifest(tmp_path / "m.toml")


@pytest.mark.parametrize("part", ["a", '"b c"', "''", "a-1 "])
@pytest.mark.parametrize("key", ["{}b = 1", "[{}b]", "x = {{{}b = 1}}"])
def test_keys_of_very_many_parts(tmp_path, part, key):
    """A manifest of 40 kB took 1.5 GB."""
    path = tmp_path / "m.toml"
    path.write_text(TEXT + key.format(f"{part}." * 20_000) + "\n", "utf-8")
    tracemalloc.start()
    with pytest.raises(ManifestError, match=r"m\.toml: nested too deeply"):
        load_manifest(path)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_dots_that_are_no_keys(tmp_path):
    path = tmp_path / "m.toml"
    path.write_text(TEXT.replace("é", "a." * 50) + "#" + "." * 1000 + " e.g. here" * 1000 + "\n")
    assert load_manifest(path).keys() == {"a." * 50}


def test_the_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.safetensors").write_bytes(raw(FP8, bytes(12)))
    (tmp_path / "sub").mkdir()
    text = rules(top='dtype = "float32"').replace("x.safetensors", "~/x.safetensors")
    (tmp_path / "sub" / "m.toml").write_text(text)
    assert len(load_manifest(Path(tmp_path / "sub" / "m.toml"))) == 4


def test_axes_that_are_stated_are_kept(tmp_path):
    """Whatever a module's owner has, a manifest means what it says."""
    (tmp_path / "m.toml").write_text(
        'seed = 0\nin_axis = 1\nout_axis = 0\n[[tensors]]\nname = "c_attn.weight"\nshape = [768, 3072]\ninit = "he_normal"\n'
        '[[tensors]]\nname = "d"\nshape = [768, 3072]\ninit = "he_normal"\nin_axis = 0\nout_axis = 1\n'
    )
    recipes = load_manifest(tmp_path / "m.toml")
    assert recipes["c_attn.weight"].std == pytest.approx((2 / 3072) ** 0.5)
    assert recipes["d"].std == pytest.approx((2 / 768) ** 0.5)
