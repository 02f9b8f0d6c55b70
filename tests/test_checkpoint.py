"""save and verify: what is on disk is what the recipes make, in formats that other libraries read."""

import importlib.util
import json
import os
import subprocess
import sys
import types

import ml_dtypes
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file

import fastinit as fi
from conftest import DTYPES, bits
from fastinit.checkpoint import layout, save, verify, writing
from fastinit.pieces import pieces, rows_of_piece
from models import everything


def assert_holds(path, recipes):
    """Read back with the safetensors library; each tensor to the bit."""
    with safe_open(path, framework="numpy") as file:
        assert set(file.keys()) == set(recipes)
        for name, recipe in recipes.items():
            tensor = file.get_tensor(name)
            assert (tensor.dtype, tensor.shape) == (recipe.dtype, recipe.shape)
            assert (bits(tensor) == bits(recipe[...])).all()


@pytest.fixture(params=["whole", "small pieces"])
def piece(request, monkeypatch):
    """Pieces of a few elements, and entries of the journal every few of them, besides the usual ones."""
    if request.param == "small pieces":
        monkeypatch.setattr(writing, "PIECE", 240)
        monkeypatch.setattr(writing, "STRETCH", 3000)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_file_is_read_back_by_safetensors(tmp_path, piece, threads):
    path, recipes = tmp_path / "m.safetensors", everything()
    assert save(path, recipes, threads=threads) is True
    assert_holds(path, recipes)
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_the_same_file_for_any_threads_and_pieces(tmp_path, monkeypatch):
    contents = set()
    for threads, size in ((1, 1 << 20), (3, 160), (2, 8)):
        monkeypatch.setattr(writing, "PIECE", size)
        save(tmp_path / "m.safetensors", everything(), threads=threads, overwrite=True)
        contents.add((tmp_path / "m.safetensors").read_bytes())
    assert len(contents) == 1


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="only where torch is installed")
def test_a_file_is_read_back_by_torch(tmp_path):
    import torch
    from safetensors.torch import load_file as load_torch

    save(tmp_path / "m.safetensors", everything())
    for name, tensor in load_torch(tmp_path / "m.safetensors").items():
        whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
        expected = bits(everything()[name][...]).reshape(tensor.shape)
        assert (tensor.view(whole).numpy().view(expected.dtype) == expected).all()


def test_tensors_are_aligned_and_the_recipes_ride_along(tmp_path):
    path, recipes = tmp_path / "m.safetensors", everything()
    save(path, recipes)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    described = json.loads(metadata["fastinit"])
    assert {name: fi.Recipe.from_dict(d) for name, d in described.items()} == recipes
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    assert length % 8 == 0
    for name, entry in json.loads(raw[8 : 8 + length]).items():
        if name != "__metadata__":
            assert entry["data_offsets"][0] % recipes[name].dtype.itemsize == 0


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 9), max_size=4),
            st.sampled_from(list(DTYPES)),
            st.sampled_from(["normal", "uniform", "ones", "truncated_normal"]),
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(8, 300),
    st.integers(1, 600),
)
def test_any_shapes_in_any_pieces(tmp_path_factory, described, piece, largest):
    folder = tmp_path_factory.mktemp("any")
    recipes = {
        f"t{i}": fi.recipe(init, shape, dtype=dtype, seed=3, name=f"t{i}")
        for i, (shape, dtype, init) in enumerate(described)
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "PIECE", piece)
        patch.setattr(writing, "STRETCH", 4 * piece)
        for sync in ("fsync", "fdatasync"):  # what reaches the disk is not looked at here
            patch.setattr(os, sync, lambda fd: None)
        save(folder / "m.safetensors", recipes)
        save(folder / "hf", recipes, max_shard_size=largest)
    assert_holds(folder / "m.safetensors", recipes)
    assert verify(folder / "m.safetensors")
    assert verify(folder / "hf", recipes)


@given(st.lists(st.integers(0, 7), max_size=5).map(tuple), st.integers(1, 50))
def test_pieces_cover_a_tensor_once_and_in_order(shape, largest):
    flat = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    at = 0
    for piece in pieces(shape, largest):
        part = np.asarray(flat[piece.at])
        assert part.size == piece.size <= max(largest, 1)
        assert (part.ravel() == np.arange(at, at + piece.size)).all()
        assert piece.first == at
        at += piece.size
    assert at == flat.size
    axis, rows = rows_of_piece(shape, largest)
    assert rows >= 1
    assert 0 <= axis < max(len(shape), 1)


# ---- folders -------------------------------------------------------------------------------------------------


def test_a_folder_is_as_transformers_lays_it_out(tmp_path):
    recipes = {f"t{i}": fi.recipe("normal", (n,), seed=0, name=f"t{i}") for i, n in enumerate((10, 20, 90, 5, 6, 7))}
    save(tmp_path / "hf", recipes, max_shard_size="120B")
    index = json.loads((tmp_path / "hf" / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_parameters": 138, "total_size": 552}
    groups = {}
    for name, file in index["weight_map"].items():
        groups.setdefault(file, []).append(name)
    # as huggingface_hub cuts them: t2, larger than a file may be, has its own before the one that is being filled
    assert groups == {
        "model-00001-of-00003.safetensors": ["t2"],
        "model-00002-of-00003.safetensors": ["t0", "t1"],
        "model-00003-of-00003.safetensors": ["t3", "t4", "t5"],
    }
    for file, held in groups.items():
        assert_holds(tmp_path / "hf" / file, {name: recipes[name] for name in held})
    assert len(list((tmp_path / "hf").iterdir())) == 4
    assert verify(tmp_path / "hf")
    assert verify(tmp_path / "hf" / "model.safetensors.index.json", recipes)


def test_what_fits_into_one_file_has_no_index(tmp_path):
    save(tmp_path / "hf", everything(), max_shard_size="5GB")
    assert [p.name for p in (tmp_path / "hf").iterdir()] == ["model.safetensors"]
    assert verify(tmp_path / "hf")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_parts_need_no_coordination(tmp_path, order):
    recipes = {f"t{i}": fi.recipe("normal", (100,), seed=0, name=f"t{i}") for i in range(7)}
    save(tmp_path / "whole", recipes, max_shard_size=800)
    for i in order:
        assert not (tmp_path / "hf").exists()
        complete = save(tmp_path / "hf", recipes, max_shard_size=800, part=(i, 3))
        assert complete == (i == order[-1])
    contents = [{p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("whole", "hf")]
    assert contents[0] == contents[1]
    assert not list(tmp_path.glob("*.partial"))


def test_a_part_without_files_does_nothing(tmp_path):
    recipes = {f"t{i}": fi.recipe("normal", (100,), seed=0, name=f"t{i}") for i in range(2)}
    save(tmp_path / "hf", recipes, max_shard_size=400, part=(3, 5))
    assert not list(tmp_path.iterdir())
    save(tmp_path / "hf", recipes, max_shard_size=400)
    for overwrite in (False, True):
        save(tmp_path / "hf", recipes, max_shard_size=400, part=(3, 5), overwrite=overwrite)
        assert [p.name for p in tmp_path.iterdir()] == ["hf"]


def test_more_parts_than_files(tmp_path):
    recipes = {f"t{i}": fi.recipe("normal", (100,), seed=0, name=f"t{i}") for i in range(2)}
    for i in range(5):
        save(tmp_path / "hf", recipes, max_shard_size=400, part=(i, 5))
    assert verify(tmp_path / "hf", recipes)


def test_other_files_of_a_folder_stay_when_it_is_overwritten(tmp_path):
    out = tmp_path / "hf"
    save(out, everything(), max_shard_size=2000)
    (out / "config.json").write_text("{}")
    (out / "sub").mkdir()
    (out / "sub" / "model.safetensors").write_text("not ours")
    (out / "link").symlink_to("config.json")
    (out / "folder link").symlink_to("sub")
    before = set(out.iterdir())
    other = {"x": fi.recipe("normal", (10,), seed=5, name="x")}
    with pytest.raises(FileExistsError):
        save(out, other, max_shard_size=2000)
    assert set(out.iterdir()) == before
    save(out, other, max_shard_size=2000, overwrite=True)
    assert {p.name for p in out.iterdir()} == {"config.json", "sub", "link", "folder link", "model.safetensors"}
    assert (os.readlink(out / "link"), os.readlink(out / "folder link")) == ("config.json", "sub")
    assert (out / "sub" / "model.safetensors").read_text() == "not ours"
    assert verify(out, other)
    assert [p.name for p in tmp_path.iterdir()] == ["hf"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5GB", 5 * 10**9),
        ("5gb", 5 * 10**9),
        ("1.5 MiB", 3 << 19),
        ("7", 7),
        ("2TB", 2 * 10**12),
        (10, 10),
        (np.int64(3), 3),
    ],
)
def test_sizes(text, size):
    assert layout.parse_size(text) == size


@pytest.mark.parametrize("size", ["", "GB", "5XB", "-1", "0", 0, -5, "1e9", "٣GB"])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match=r"size|unit"):
        layout.parse_size(size)


def test_links_lead_to_what_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    for name, options in (("m.safetensors", {}), ("hf", {"max_shard_size": 2000})):
        (tmp_path / name).symlink_to(tmp_path / "there" / name)
        save(tmp_path / name, everything(), **options)
        save(tmp_path / name, everything(), overwrite=True, **options)
        assert (tmp_path / name).is_symlink()
        assert verify(tmp_path / "there" / name)
    assert len(list(tmp_path.iterdir())) == 3
    assert len(list((tmp_path / "there").iterdir())) == 2


# ---- npy and zarr --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("shape", [(70, 80), (), (0, 3), (5,)])
def test_npy_is_what_numpy_saves(tmp_path, piece, dtype, shape):
    recipe = fi.recipe("normal", shape, dtype=dtype, seed=1, name="a")
    save(tmp_path / "a.npy", recipe)
    np.save(tmp_path / "b.npy", recipe[...])
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert verify(tmp_path / "a.npy", recipe)
    assert verify(tmp_path / "a.npy", {"any": recipe})


def test_zarr_group_and_array(tmp_path, monkeypatch):
    from fastinit.checkpoint import zarr_store

    monkeypatch.setattr(zarr_store, "CHUNK", 1024)
    recipes = {name: recipe for name, recipe in everything().items() if name != "emb"}
    save(tmp_path / "m.zarr", recipes)
    group = zarr.open_group(tmp_path / "m.zarr", mode="r")
    assert group.metadata.zarr_format == 3
    for name, recipe in recipes.items():
        assert group[name].dtype == recipe.dtype
        assert np.array_equal(group[name][...], recipe[...])
        assert fi.Recipe.from_dict(group[name].attrs["fastinit"]) == recipe
    assert group["a/b.w"].chunks == (17, 3, 5)
    found = verify(tmp_path / "m.zarr")
    assert found
    assert set(found.tensors) == set(recipes)
    save(tmp_path / "q.zarr", recipes["q"])
    assert np.array_equal(zarr.open_array(tmp_path / "q.zarr", mode="r")[...], recipes["q"][...])
    assert verify(tmp_path / "q.zarr", recipes["q"])
    assert {p.name for p in tmp_path.iterdir()} == {"m.zarr", "q.zarr"}


@pytest.mark.parametrize("installed", [None, "2.18.3"])
def test_without_zarr_it_says_what_to_install(tmp_path, monkeypatch, installed):
    module = None if installed is None else types.SimpleNamespace(__version__=installed)
    monkeypatch.setitem(sys.modules, "zarr", module)
    for what in (save, verify):
        with pytest.raises(ImportError, match=r"pip install 'zarr>=3'"):
            what(tmp_path / "m.zarr", everything()["q"])
    assert not list(tmp_path.iterdir())


def test_where_the_system_lacks_calls(tmp_path, monkeypatch):
    """As macOS does."""
    monkeypatch.delattr(os, "posix_fallocate")
    monkeypatch.delattr(os, "fdatasync")
    save(tmp_path / "m.safetensors", everything())
    assert_holds(tmp_path / "m.safetensors", everything())


def test_thousands_of_small_tensors(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "MOST_PIECES", 100)
    recipes = {f"t{i}": fi.recipe("normal", (3,), seed=0, name=f"t{i}") for i in range(1010)}
    save(tmp_path / "m.safetensors", recipes)
    assert_holds(tmp_path / "m.safetensors", recipes)


# ---- bad input, progress, memory -----------------------------------------------------------------------------

r = fi.recipe("normal", (4,), seed=0, name="r")
BAD = [
    (("x.safetensors", {}), {}, ValueError, "no tensor"),
    (("x.safetensors", [r]), {}, TypeError, "dict of names"),
    (("x.safetensors", {"a": 3}), {}, TypeError, "'a' must be a Recipe"),
    (("x.safetensors", {"a": np.zeros(2)}), {}, TypeError, "'a' must be a Recipe or a Part, not ndarray"),
    (("x.safetensors", {3: r}), {}, TypeError, "name must be a str"),
    (("x.safetensors", {"../a": r}), {}, ValueError, "leads out"),
    (("x.safetensors", {"a\n": r}), {}, ValueError, "control"),
    (("x.safetensors", {"\ud800": r}), {}, ValueError, "UTF-8"),
    (("x.bin", {"a": r}), {}, ValueError, "the ending says"),
    (("x", {"a": r}), {}, ValueError, "the ending says"),
    (("x.safetensors", {"a": r}), {"threads": 0}, ValueError, "threads"),
    (("x.safetensors", {"a": r}), {"progress": 3}, TypeError, "progress"),
    (("x.safetensors", {"a": r}), {"part": (0, 2)}, ValueError, "give a max_shard_size"),
    (("x", {"a": r}), {"max_shard_size": "5GB", "part": (2, 2)}, ValueError, "0 <= i < n"),
    (("x", {"a": r}), {"max_shard_size": "5GB", "part": 1}, TypeError, "two integers"),
    (("x", {"a": r}), {"max_shard_size": "5GC"}, ValueError, "unknown unit"),
    (("x", {"a": r}), {"max_shard_size": True}, TypeError, "max_shard_size"),
    (("x.npy", {"a": r, "b": r}), {}, ValueError, "one tensor"),
    (("x.npy", fi.recipe("normal", 3, dtype="bfloat16", seed=0, name="h")), {}, ValueError, "npy format does not have"),
    (("x.zarr", fi.recipe("normal", 3, dtype="bfloat16", seed=0, name="h")), {}, ValueError, "zarr has no such type"),
    (("x.zarr", {"a": r, "a/b": r}), {}, ValueError, "lies in another tensor"),
    (("x.zarr", {"a//b": r}), {}, ValueError, "no name of a zarr array"),
    (("x.zarr", {"zarr.json": r}), {}, ValueError, "no name of a zarr array"),
    (("x.zarr", {"a": r}), {"max_shard_size": "5GB"}, ValueError, "not .zarr"),
    (("..", {"a": r}), {"max_shard_size": "5GB"}, ValueError, "names no file"),
    (("", {"a": r}), {"max_shard_size": "5GB"}, ValueError, "names no file"),
    (("no/x.safetensors", {"a": r}), {}, FileNotFoundError, "no/x.safetensors"),
]


@pytest.mark.parametrize(("arguments", "options", "error", "words"), BAD)
def test_bad_input_writes_nothing(tmp_path, monkeypatch, arguments, options, error, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        save(*arguments, **options)
    assert not list(tmp_path.iterdir())


def test_a_header_beyond_the_format_is_refused(tmp_path, monkeypatch):
    from fastinit.checkpoint import header

    assert header.LONGEST == 100_000_000
    monkeypatch.setattr(header, "LONGEST", 500)
    with pytest.raises(ValueError, match="give a max_shard_size"):
        save(tmp_path / "m.safetensors", everything())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["m.safetensors", "hf", "m.zarr"])
def test_progress_adds_up(tmp_path, monkeypatch, out):
    monkeypatch.setattr(writing, "PIECE", 256)
    recipes = {name: recipe for name, recipe in everything().items() if name != "emb"}
    seen = []
    save(tmp_path / out, recipes, max_shard_size=3000 if out == "hf" else None, progress=lambda *now: seen.append(now))
    done, totals = zip(*seen)
    assert list(done) == sorted(done)
    assert set(totals) == {done[-1]}
    assert len(seen) > 5
    seen.clear()
    assert verify(tmp_path / out, progress=lambda *now: seen.append(now))
    assert seen[-1][0] == seen[-1][1] == sum(recipe.nbytes for recipe in recipes.values())


def test_what_the_callback_raises_stops_the_writing(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "PIECE", 256)

    def stop(done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "m.safetensors", everything(), progress=stop)
    assert {p.name for p in tmp_path.iterdir()} == {"m.safetensors.partial", "m.safetensors.journal"}
    save(tmp_path / "m.safetensors", everything(), resume=True)
    assert_holds(tmp_path / "m.safetensors", everything())


@pytest.mark.limits_memory
def test_memory_stays_small(tmp_path):
    """400 MiB of tensors, orthogonal ones among them, with less than 100 MiB that are not the file's."""
    script = f"""
import fastinit as fi
recipes = {{
    "w": fi.recipe("normal", (64, 1 << 20), seed=0, name="w"),
    "h": fi.recipe("normal", (1 << 25,), dtype="bfloat16", seed=0, name="h"),
    "q": fi.recipe("orthogonal", (8192, 2048), seed=0, name="q"),
}}
class Stop(Exception): pass
peak = 0
def look(done, total):
    global peak
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            peak = max(peak, int(line.split()[1]))
recipes.pop("q") if {sys.byteorder != "little"} else None
fi.checkpoint.save({str(tmp_path / "m.safetensors")!r}, recipes, progress=look)
print(peak // 1024)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 1 < int(done.stdout) < 100


def test_the_module_is_read_when_asked_for():
    script = "import sys, fastinit; assert 'fastinit.checkpoint' not in sys.modules; print(fastinit.checkpoint.save)"
    assert (
        "function save"
        in subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    )
    with pytest.raises(AttributeError, match="no attribute 'chekpoint'"):
        fi.chekpoint  # noqa: B018


def test_every_tensor_of_load_file_has_ml_dtypes_bfloat16(tmp_path):
    save(tmp_path / "m.safetensors", everything())
    assert load_file(tmp_path / "m.safetensors")["emb"].dtype == ml_dtypes.bfloat16
