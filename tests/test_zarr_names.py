"""Names of tensors that become paths of a zarr group: kept apart, or refused before anything is written."""

import os
import subprocess
import sys

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import fastinit as fi
from crashing import contents
from fastinit import cli
from fastinit.checkpoint import HeaderError, save, verify, zarr_reading, zarr_store
from fastinit.checkpoint.reading import open_checkpoint


def group(*names, size=3):
    return {name: fi.recipe("normal", (size,), seed=0, name=name) for name in names}


@pytest.mark.parametrize(
    "names",
    [
        ["a\\b"],
        ["a/b", "a\\b"],
        ["a//b"],
        ["a/"],
        ["."],
        ["./a"],
        ["a/./b"],
        ["..."],
        ["a/.../b"],
        [""],
        ["", "a"],
        ["zarr.json"],
        ["a/zarr.json/b"],
        [".zarray"],
        ["a/.zgroup"],
        [".zattrs", "a"],
        ["__a"],
        ["a/__b"],
        ["a", "a/b"],
        ["a", "a/c/0"],
        ["a/c/0", "a"],
        ["a/b", "a/b/c"],
        ["x" * 256],
        ["é" * 128],
        ["a" * 200 + "/" + "b" * 256],
    ],
)
def test_names_that_are_no_path_of_their_own_are_refused(tmp_path, names):
    with pytest.raises(ValueError, match=r"no name of a zarr array|lies in another tensor"):
        save(tmp_path / "m.zarr", group(*names))
    assert not list(tmp_path.iterdir())


NAMES = st.text(st.sampled_from("ab/\\.cé _"), min_size=1, max_size=7)


@settings(deadline=None, max_examples=150)
@given(st.sets(NAMES, min_size=1, max_size=4))
def test_whatever_is_not_refused_is_kept_apart(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("names")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: None)
        try:
            save(folder / "m.zarr", group(*names))
        except ValueError:
            assert not list(folder.iterdir())
            return
    assert verify(folder / "m.zarr").tensors.keys() == names
    assert verify(folder / "m.zarr", group(*names))


def test_c_is_a_name_like_others(tmp_path):
    names = ["c", "d/c/c", "0", "A", "a ", " a", "e.partial", ".a"]
    save(tmp_path / "m.zarr", group(*names))
    assert verify(tmp_path / "m.zarr", group(*names))


def folding(monkeypatch, fold):
    """A file system that takes names as `fold` makes them."""
    for name in ("mkdir", "open"):
        original = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda path, *rest, original=original, **more: original(fold(path), *rest, **more)
        )


@pytest.mark.parametrize("names", [("a", "A"), ("A/x", "a/y"), ("l/a", "l/b", "l/A")])
def test_a_file_system_that_folds_cases(tmp_path, monkeypatch, names):
    folding(monkeypatch, lambda path: path.lower() if isinstance(path, str) and not path.startswith("/") else path)
    with pytest.raises(ValueError, match=r"does not tell '.*' from another tensor's name"):
        save(tmp_path / "m.zarr", group(*names))
    assert not list(tmp_path.iterdir())


def test_a_file_system_that_normalises(tmp_path, monkeypatch):
    import unicodedata

    def fold(path):
        return unicodedata.normalize("NFD", path) if isinstance(path, str) else path

    folding(monkeypatch, fold)
    with pytest.raises(ValueError, match="changes the name of 'é'"):
        save(tmp_path / "m.zarr", group("é"))
    assert not list(tmp_path.iterdir())


def test_a_file_system_with_short_names(tmp_path, monkeypatch):
    monkeypatch.setattr(zarr_store, "LONGEST_WORD", 1000)
    with pytest.raises(OSError, match="File name too long"):
        save(tmp_path / "m.zarr", group("x" * 300))
    assert not list(tmp_path.iterdir())


# ---- bounds before memory ----------------------------------------------------------------------------------


def hostile(path, **changes):
    """A zarr array of no chunks, and what its metadata says changed."""
    import json

    zarr.create_array(path, shape=(4,), chunks=(4,), dtype="float32", compressors=None)
    text = json.loads((path / "zarr.json").read_text())
    (path / "zarr.json").write_text(json.dumps(text | changes))


@pytest.mark.parametrize("shape", [[4], [1 << 33]])
def test_a_chunk_that_claims_gigabytes(tmp_path, shape):
    grid = {"name": "regular", "configuration": {"chunk_shape": [1 << 33]}}
    hostile(tmp_path / "z.zarr", chunk_grid=grid, shape=shape)
    assert sum(len(data) for data in contents(tmp_path / "z.zarr").values()) < 1000
    recipe = fi.recipe("zeros", tuple(shape), seed=0, name="z")
    for read in (open_checkpoint, lambda path: verify(path, recipe)):
        with pytest.raises(HeaderError, match="chunks of 34359738368 bytes, which are not on the disk"):
            read(tmp_path / "z.zarr")


@pytest.mark.parametrize("shape", [[4], [0]])
def test_chunks_of_nothing(tmp_path, shape):
    hostile(tmp_path / "z.zarr", chunk_grid={"name": "regular", "configuration": {"chunk_shape": [0]}}, shape=shape)
    with pytest.raises(HeaderError, match=r"z\.zarr: no zarr: array 'z' has chunks of \(0,\), which hold nothing"):
        verify(tmp_path / "z.zarr", fi.recipe("zeros", tuple(shape), seed=0, name="z"))


def test_show_does_not_read_millions_of_chunks(tmp_path):
    """Of elements that nobody has stored."""
    hostile(tmp_path / "z.zarr", chunk_grid={"name": "regular", "configuration": {"chunk_shape": [1]}}, shape=[1 << 26])
    for name, code in (("z", 2), ("z[:1000]", 0)):
        command = [sys.executable, "-m", "fastinit", "show", str(tmp_path / "z.zarr"), name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, "more than 100,000 chunks" in done.stderr) == (code, code == 2)


@pytest.mark.parametrize("codec", [None, zarr.codecs.GzipCodec(), zarr.codecs.ZstdCodec(), zarr.codecs.BloscCodec()])
@pytest.mark.parametrize("left", [0, 100])
def test_damaged_chunks(tmp_path, monkeypatch, capfd, codec, left):
    """One error whatever the codec says, with the path: no fault of ours, no interruption."""
    path, recipe = tmp_path / "z.zarr", fi.recipe("zeros", (8000,), seed=0, name="a")
    array = zarr.open_group(path, mode="w").create_array(
        "a", shape=(8000,), chunks=(8000,), dtype="f4", compressors=codec
    )
    array[:] = np.arange(8000)
    os.truncate(path / "a" / "c" / "0", left)
    with pytest.raises(HeaderError, match=r"z\.zarr/a: a chunk of it cannot be read: "):
        verify(path, {"a": recipe})
    monkeypatch.setattr(sys, "argv", ["fastinit", "show", str(path), "a"])
    assert cli.run() == 2
    assert "a chunk of it cannot be read" in capfd.readouterr().err
    assert save(path, {"a": recipe}, resume=True, overwrite=True)
    assert verify(path, {"a": recipe})


def test_a_sparse_chunk_file_is_not_on_the_disk(tmp_path):
    grid = {"name": "regular", "configuration": {"chunk_shape": [1 << 33]}}
    hostile(tmp_path / "z.zarr", chunk_grid=grid, shape=[1 << 33])
    (tmp_path / "z.zarr" / "c").mkdir()
    (tmp_path / "z.zarr" / "c" / "0").touch()
    os.truncate(tmp_path / "z.zarr" / "c" / "0", 1 << 35)
    with pytest.raises(HeaderError, match="not on the disk"):
        open_checkpoint(tmp_path / "z.zarr")


def test_large_chunks_that_are_there_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(zarr_reading, "_LARGEST_CHUNK", 1000)
    recipe = fi.recipe("normal", (300, 300), seed=0, name="a")
    array = zarr.create_array(tmp_path / "a.zarr", shape=(300, 300), chunks=(300, 300), dtype="float32")
    with pytest.raises(HeaderError, match="not on the disk"):
        open_checkpoint(tmp_path / "a.zarr")
    array[...] = recipe[...]
    assert verify(tmp_path / "a.zarr", recipe)


def test_a_shard_whose_index_claims_gigabytes(tmp_path):
    zarr.create_array(tmp_path / "z.zarr", shape=(1 << 27,), chunks=(1,), shards=(1 << 27,), dtype="int8")
    with pytest.raises(HeaderError, match="not on the disk"):
        open_checkpoint(tmp_path / "z.zarr")


@pytest.mark.parametrize("name", ["zarr.json", "a/zarr.json", ".zattrs"])
def test_metadata_without_end(tmp_path, name):
    zarr.create_group(tmp_path / "z.zarr")
    (tmp_path / "z.zarr" / "a").mkdir()
    (tmp_path / "z.zarr" / name).touch()
    os.truncate(tmp_path / "z.zarr" / name, 1 << 40)
    with pytest.raises(HeaderError, match="too long"):
        open_checkpoint(tmp_path / "z.zarr")


def test_folders_in_a_circle(tmp_path):
    zarr.create_group(tmp_path / "z.zarr")
    (tmp_path / "z.zarr" / "a").symlink_to("..", target_is_directory=True)
    with pytest.raises(HeaderError, match="twice"):
        open_checkpoint(tmp_path / "z.zarr")


def test_orthogonal_tensors_are_made_only_where_the_disk_has_them(tmp_path):
    """A hostile file's recipe cannot have verify make terabytes."""
    recipe = fi.recipe("orthogonal", (1 << 18, 1 << 18), seed=0, name="q")
    array = zarr.create_array(
        tmp_path / "q.zarr", shape=recipe.shape, chunks=(1 << 10, 1 << 10), dtype="float32", attributes={"fastinit": recipe.to_dict()}
    )  # fmt: skip
    array[0, 0] = 1
    found = verify(tmp_path / "q.zarr")
    assert "of which the disk holds" in str(found)
    head = fi.checkpoint.layout.safetensors_file("q", {"q": recipe}).head
    (tmp_path / "q.safetensors").write_bytes(head)
    os.truncate(tmp_path / "q.safetensors", len(head) + recipe.nbytes)
    assert "of which the disk holds" in str(verify(tmp_path / "q.safetensors"))


def test_small_arrays_of_a_group_are_compared_to_the_bit(tmp_path):
    recipes = group(*(f"t{i}" for i in range(40)))
    save(tmp_path / "m.zarr", recipes)
    array = zarr.open_array(tmp_path / "m.zarr", path="t7", mode="r+")
    array[2] = np.nan
    found = verify(tmp_path / "m.zarr", recipes)
    assert [name for name, comparison in found.tensors.items() if not comparison.equal] == ["t7"]
    assert found.tensors["t7"].first == (2,)
