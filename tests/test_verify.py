"""verify: what is on disk against what the recipes make."""

import json

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import fastinit as fi
from fastinit.checkpoint import comparing, save, verify
from models import everything


@pytest.mark.parametrize("piece", [64, 1 << 20])
def test_verify_tells_the_first_difference_and_how_far_it_has_moved(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(comparing, "PIECE", piece)
    recipes = {
        "w": fi.recipe("normal", (50, 60), std=0.5, seed=0, name="w"),
        "b": fi.recipe("zeros", (7,), seed=0, name="b"),
        "h": fi.recipe("normal", (30,), dtype="bfloat16", seed=0, name="h"),
    }
    made = {name: recipe[...] for name, recipe in recipes.items()}
    trained = {name: array.copy() for name, array in made.items()}
    trained["w"][3, 4] += 0.25
    trained["w"][40, 0] -= 2
    trained["b"][5] = -0.0
    trained["h"][29] = np.nan
    save_file(trained, tmp_path / "t.safetensors")
    with pytest.raises(ValueError, match="no recipes of its own"):
        verify(tmp_path / "t.safetensors")
    found = verify(tmp_path / "t.safetensors", recipes)
    assert not found
    w, b, h = (found.tensors[name] for name in "wbh")
    assert (w.equal, w.first, w.expected, w.found) == (False, (3, 4), made["w"][3, 4], trained["w"][3, 4])
    assert w.largest_change == pytest.approx(2)
    assert w.unchanged == 2998 / 3000
    assert (b.first, b.expected, b.found, b.largest_change, b.unchanged) == ((5,), 0.0, 0.0, 0.0, 6 / 7)
    assert h.first == (29,)
    assert np.isnan(h.largest_change)
    assert "element [3, 4]" in str(found)
    old, new = made["w"].astype(float), trained["w"].astype(float)
    assert w.moved == pytest.approx(np.linalg.norm(new - old) / np.linalg.norm(old), rel=1e-12)
    assert f"||w - w0|| / ||w0|| = {w.moved:.3g}, 0.000667 of the elements" in str(w)
    assert b.moved == 0  # the sign of a zero
    assert np.isnan(h.moved)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("piece", [64, 4096, 1 << 20])
def test_verify_measures_how_far_each_tensor_has_moved(tmp_path, monkeypatch, dtype, threads, piece):
    """Against NumPy on whole arrays; some pieces have changed, and some have not."""
    monkeypatch.setattr(comparing, "PIECE", piece)
    monkeypatch.setattr(comparing, "SMALL", 100)
    q, k = (fi.recipe("normal", (40, 60), dtype=dtype, seed=0, name=name) for name in "qk")
    recipes = {
        "all": fi.recipe("normal", (70, 60), std=0.5, dtype=dtype, seed=0, name="all"),
        "few": fi.concatenate([q, k], axis=1),
        "none": fi.recipe("uniform", (70, 60), dtype=dtype, seed=0, name="none"),
        "orthogonal": fi.recipe("orthogonal", (20, 30), dtype=dtype, seed=0, name="orthogonal"),
        "zeros": fi.recipe("zeros", (30, 40), dtype=dtype, seed=0, name="zeros"),
        "scalar": fi.recipe("normal", (), dtype=dtype, seed=0, name="scalar"),
        "empty": fi.recipe("normal", (0, 4), dtype=dtype, seed=0, name="empty"),
        "infinite": fi.recipe("ones", (30, 40), dtype=dtype, seed=0, name="infinite"),
    }
    trained = {name: recipe[...].copy() for name, recipe in recipes.items()}
    for name in ("all", "orthogonal", "scalar"):
        trained[name][...] = trained[name].astype(float) * 0.75
    trained["few"][5, 7:9] += 1
    trained["few"][30, 60] -= 3
    trained["zeros"][29, 39] = 2
    trained["infinite"][3, 3] = np.inf
    save_file(trained, tmp_path / "t.safetensors")
    found = verify(tmp_path / "t.safetensors", recipes, threads=threads).tensors
    for name in ("all", "few", "orthogonal", "scalar"):
        old, new = recipes[name][...].astype(float), trained[name].astype(float)
        assert found[name].moved == pytest.approx(np.linalg.norm(new - old) / np.linalg.norm(old), rel=1e-12)
        assert found[name].unchanged == np.mean(old == new)
    assert (found["none"].moved, found["empty"].moved) == (0, 0)
    assert found["zeros"].moved == found["infinite"].moved == np.inf
    assert found == verify(tmp_path / "t.safetensors", recipes, threads=5).tensors  # to the bit


def test_verify_names_what_cannot_be_compared(tmp_path):
    recipes = everything()
    save(tmp_path / "m.safetensors", recipes)
    other = dict(recipes)
    del other["i"]
    other["more"] = fi.recipe("ones", 3, seed=0, name="more")
    other["é"] = fi.recipe("ones", 3, seed=0, name="é")
    other["scalar"] = fi.recipe("uniform", (), seed=1, name="scalar")
    found = verify(tmp_path / "m.safetensors", other).tensors
    problems = {name: comparison.problem for name, comparison in found.items() if not comparison.equal}
    assert problems == {
        "more": "missing",
        "i": "not in the recipes",
        "é": "of shape (1000,), not (3,)",
        "scalar": "of dtype float16, not float32",
    }


@settings(deadline=None)
@given(st.data())
def test_verify_finds_every_flipped_bit(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "flip.safetensors"
    recipes = {name: recipe for name, recipe in everything().items() if recipe.size}
    save(path, recipes, overwrite=True)
    name = data.draw(st.sampled_from(list(recipes)))
    flat = data.draw(st.integers(0, recipes[name].size - 1))
    bit = data.draw(st.integers(0, 8 * recipes[name].dtype.itemsize - 1))
    raw = bytearray(path.read_bytes())
    length = int.from_bytes(raw[:8], "little")
    start = json.loads(raw[8 : 8 + length])[name]["data_offsets"][0]
    raw[8 + length + start + flat * recipes[name].dtype.itemsize + bit // 8] ^= 1 << bit % 8
    path.write_bytes(raw)
    found = verify(path)
    assert [c.name for c in found.tensors.values() if not c.equal] == [name]
    assert found.tensors[name].first == tuple(np.unravel_index(flat, recipes[name].shape))


@pytest.mark.parametrize("chunks", [(50, 60), (50, 1), (1, 60), (7, 11), (100, 100)])
@pytest.mark.parametrize("at", [(0, 0), (3, 59), (49, 1), None])
def test_verify_of_zarr_in_any_chunks(tmp_path, chunks, at):
    recipe = fi.recipe("normal", (50, 60), seed=0, name="w")
    values = recipe[...]
    if at:
        values[at] += 1
        values[49, 59] += 2
    array = zarr.create_array(tmp_path / "w.zarr", shape=(50, 60), chunks=chunks, dtype="float32")
    array[...] = values
    found = verify(tmp_path / "w.zarr", recipe).tensors["w"]
    assert found.first == at
    assert found.unchanged == (1 if at is None else 2998 / 3000)
