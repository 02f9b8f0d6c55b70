"""What dump_manifest refuses, and what it does with files: in the way, linked, left by a killed call."""

import os
import subprocess
import sys

import numpy as np
import pytest

import fastinit as fi
from fastinit.checkpoint import dump_manifest, load_manifest
from fastinit.checkpoint.opening import InTheWay, NotOurs
from test_dump_manifest import beside, normal

# ---- what cannot be written ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipes", "message"),
    [
        ({}, "there is no tensor"),
        ({"a{b": normal("a")}, "no name with braces"),
        ({"a": normal("a}b")}, "no name with braces"),
        ({"../a": normal("a")}, "leads out of a folder"),
        ({"__metadata__": normal("a")}, "__metadata__"),
        ({"a\n": normal("a")}, "control characters"),
        ({"a": "normal"}, "must be a Recipe or a Part"),
        ({1: normal("a")}, "a str"),
        (normal("a"), "a dict of names to recipes"),
        ([normal("a")], "must be a dict"),
    ],
)
def test_what_no_manifest_can_say_is_refused_in_one_line(tmp_path, recipes, message):
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        dump_manifest(tmp_path / "m.toml", recipes)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_would_not_read_back_is_not_written(tmp_path, monkeypatch):
    from fastinit.checkpoint import dumping

    monkeypatch.setattr(dumping, "table_of", lambda family, top: {"name": "w", "shape": [4, 6], "init": "uniform"})
    with pytest.raises(ValueError, match="'w' would read back as another tensor"):
        dump_manifest(tmp_path / "m.toml", {"w": normal("w")})
    monkeypatch.setattr(dumping, "table_of", lambda family, top: {"name": "w", "init": "uniform"})
    with pytest.raises(ValueError, match=r"cannot be a manifest: .*shape is missing"):
        dump_manifest(tmp_path / "m.toml", {"w": normal("w")})
    assert list(tmp_path.iterdir()) == []


# ---- files --------------------------------------------------------------------------------------------------------


def test_a_file_that_is_there_is_replaced_only_where_that_is_asked_for(tmp_path):
    path = tmp_path / "m.toml"
    path.write_text("mine")
    path.chmod(0o640)
    recipes = {"w": normal("w"), "l": fi.literal(np.arange(4.0))}
    with pytest.raises(InTheWay):
        dump_manifest(path, recipes)
    assert [p.name for p in tmp_path.iterdir()] == ["m.toml"]
    assert path.read_text() == "mine"
    dump_manifest(path, recipes, overwrite=True)
    assert load_manifest(path) == recipes
    assert path.stat().st_mode & 0o777 == 0o640
    first = beside(tmp_path)
    dump_manifest(path, {"l": fi.literal(np.arange(5.0))}, overwrite=True)
    assert len(beside(tmp_path)) == 2  # the first may be another manifest's, too
    assert set(first) < set(beside(tmp_path))
    assert load_manifest(path) == {"l": fi.literal(np.arange(5.0))}


def test_nothing_else_is_left_and_nothing_else_is_touched(tmp_path):
    path = tmp_path / "m.toml"
    recipes = {"l": fi.literal(np.arange(4.0))}
    dump_manifest(path, recipes)
    names = sorted(os.listdir(tmp_path))
    assert names == [beside(tmp_path)[0], "m.toml"]
    literals = tmp_path / names[0]
    before = literals.stat()
    path.unlink()
    dump_manifest(path, recipes)  # the same literals are there already
    assert (literals.stat().st_ino, literals.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    literals.write_text("somebody else's")
    with pytest.raises(InTheWay):
        dump_manifest(path, recipes, overwrite=True)
    assert literals.read_text() == "somebody else's"


def test_through_a_link_the_literals_lie_beside_the_file(tmp_path):
    recipes = {"w": fi.literal(np.arange(4.0))}
    (tmp_path / "there").mkdir()
    (tmp_path / "m.toml").symlink_to(tmp_path / "there" / "real.toml")
    dump_manifest(tmp_path / "m.toml", recipes)
    assert (tmp_path / "m.toml").is_symlink()
    assert len(beside(tmp_path / "there")) == 1
    assert load_manifest(tmp_path / "m.toml") == load_manifest(tmp_path / "there" / "real.toml") == recipes


def test_what_is_in_the_way_stays(tmp_path):
    recipes = {"w": normal("w")}
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    for name in ("folder.toml", "pipe.toml"):
        with pytest.raises((NotOurs, IsADirectoryError)):
            dump_manifest(tmp_path / name, recipes, overwrite=True)
    (tmp_path / "m.toml.partial").write_text("mine")
    with pytest.raises(NotOurs):
        dump_manifest(tmp_path / "m.toml", recipes, overwrite=True)
    assert (tmp_path / "m.toml.partial").read_text() == "mine"


def test_killed_at_any_step_it_is_what_it_was_or_complete(tmp_path):
    """The process dies at each of the steps that change the folder; the next call goes through."""
    script = """
import os, sys
import numpy as np
import fastinit as fi
from fastinit.checkpoint import dump_manifest
count, at, path = 0, int(sys.argv[1]), sys.argv[2]
def dying(function):
    def call(*arguments, **options):
        global count
        count += 1
        if count == at:
            os._exit(9)
        return function(*arguments, **options)
    return call
for name in ("pwrite", "fsync", "fdatasync", "link", "replace", "unlink", "ftruncate"):
    setattr(os, name, dying(getattr(os, name)))
dump_manifest(path, {"w": fi.literal(np.arange(4.0)), "v": fi.recipe("ones", 4, seed=0)}, overwrite=True)
"""
    new = {"w": fi.literal(np.arange(4.0)), "v": fi.recipe("ones", 4, seed=0)}
    old = {"w": fi.literal(np.arange(3.0))}
    for step in range(1, 60):
        folder = tmp_path / str(step)
        folder.mkdir()
        path = folder / "m.toml"
        dump_manifest(path, old)
        done = subprocess.run([sys.executable, "-c", script, str(step), str(path)])
        assert load_manifest(path) in (old, new)
        if done.returncode == 0:
            break
        assert done.returncode == 9
        dump_manifest(path, new, overwrite=True)
        assert load_manifest(path) == new
    assert 5 < step < 59


def test_what_a_killed_call_has_left_is_gone_on_with(tmp_path):
    path = tmp_path / "m.toml"
    script = "import os, sys\nimport fastinit as fi\nos.ftruncate = lambda fd, size: os._exit(9)\n"
    script += "fi.checkpoint.dump_manifest(sys.argv[1], {'w': fi.recipe('ones', 4, seed=0)})"
    assert subprocess.run([sys.executable, "-c", script, str(path)]).returncode == 9
    assert sorted(os.listdir(tmp_path)) == ["m.toml.journal", "m.toml.partial"]
    with pytest.raises(ValueError, match="of another manifest"):
        dump_manifest(path, {"v": normal("v")})
    dump_manifest(path, {"w": fi.recipe("ones", 4, seed=0)})
    assert os.listdir(tmp_path) == ["m.toml"]
