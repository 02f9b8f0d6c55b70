"""A folder that others write to as well: what they put at our temporary names is not followed, waited for or removed."""

import os
import shutil
import socket
import stat
import subprocess
import sys

import pytest

import fastinit as fi
from crashing import contents
from fastinit.checkpoint import save, verify, writing, zarr_store
from fastinit.checkpoint.opening import NotOurs
from models import three

NAMES = {"m.safetensors": {}, "m.npy": {}, "hf": {"max_shard_size": 1000}, "m.zarr": {}}
FOLDERS = ("hf", "m.zarr")


def recipes_of(name, seed=0):
    return fi.recipe("normal", (30,), seed=seed, name="a") if name == "m.npy" else three(seed, size=50)


def snapshot(folder):
    """Everything below a folder: kind, mode, names of the same file, what links say, contents."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        inside = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
        found[str(path)] = (status.st_mode, status.st_ino, path.is_symlink() and os.readlink(path), inside)
    return found


def put(kind, path, victim):
    """Something at `path`, and what of the victim's it could harm."""
    if kind == "link to a file":
        path.symlink_to(victim / "important")
    elif kind == "dangling link":
        path.symlink_to(victim / "nothing")
    elif kind == "link to a folder":
        path.symlink_to(victim)
    elif kind == "link to itself":
        path.symlink_to(path)
    elif kind == "hard link":
        os.link(victim / "important", path)
    elif kind == "hard link to an empty file":
        (victim / "lock").touch()
        os.link(victim / "lock", path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    elif kind == "device":
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    elif kind == "file":
        path.write_text("my own")
    elif kind == "folder":
        path.mkdir()
        (path / "model.safetensors").write_text("my own")
    elif kind == "another user's file":
        path.write_text("theirs")
        os.chown(path, 65534, 65534)
    elif kind == "another user's empty file":
        path.touch()
        os.chown(path, 65534, 65534)
    elif kind == "another user's folder":
        path.mkdir()
        os.chown(path, 65534, 65534)


KINDS = ["link to a file", "dangling link", "link to a folder", "link to itself", "hard link", "pipe", "socket"]
KINDS += [
    "hard link to an empty file",
    "device",
    "file",
    "folder",
    "another user's file",
    "another user's empty file",
    "another user's folder",
]


@pytest.mark.parametrize("ending", [".partial", ".journal"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_at_a_temporary_name_stays_as_it_is(tmp_path, monkeypatch, name, kind, ending):
    victim, shared = tmp_path / "victim", tmp_path / "shared"
    victim.mkdir()
    shared.mkdir()
    (victim / "important").write_text("important")
    monkeypatch.chdir(shared)  # the path of a socket is short
    try:
        put(kind, shared / (name + ending), victim)
    except PermissionError as error:
        pytest.skip(f"needs a right that this user does not have: {error}")
    before = snapshot(tmp_path)
    for options in ({}, {"overwrite": True}, {"resume": True}, {"resume": True, "overwrite": True}):
        with pytest.raises((OSError, ValueError), match=ending) as caught:
            save(shared / name, recipes_of(name), **NAMES[name], **options)
        assert len(str(caught.value).splitlines()) == 1
        assert snapshot(tmp_path) == before, options


@pytest.mark.parametrize("kind", ["link to a file", "hard link", "pipe", "folder", "link to a folder"])
@pytest.mark.parametrize("ending", [".partial", ".journal"])
def test_temporary_names_within_a_folder_of_ours(tmp_path, monkeypatch, kind, ending):
    """Someone who could write into it before it was private."""
    monkeypatch.setattr(writing, "PIECE", 100)
    victim, out = tmp_path / "victim", tmp_path / "hf"
    victim.mkdir()
    (victim / "important").write_text("important")
    before = snapshot(victim)

    def plant(done, total):
        path = tmp_path / "hf.partial" / ("model-00002-of-00002.safetensors" + ending)
        if not os.path.lexists(path):
            put(kind, path, victim)

    recipes = {name: fi.recipe("normal", (30,), seed=0, name=name) for name in "ab"}
    with pytest.raises(OSError, match=ending):
        save(out, recipes, max_shard_size=120, progress=plant)
    assert snapshot(victim) == before
    assert not out.exists()


@pytest.mark.parametrize("name", NAMES)
def test_names_of_the_users_own_that_look_like_ours_stay(tmp_path, name):
    mine = [f".{name}.replaced", f"{name}.journal.new", f"{name}.partial.new", f".{name}.replaced-0123456789abcdef"]
    for other in mine:
        (tmp_path / other).mkdir()
        (tmp_path / other / "mine").write_text("mine")
    before = contents(tmp_path)
    save(tmp_path / name, recipes_of(name), **NAMES[name])
    save(tmp_path / name, recipes_of(name), resume=True, **NAMES[name])
    save(tmp_path / name, recipes_of(name, 1), overwrite=True, **NAMES[name])
    assert {key: value for key, value in contents(tmp_path).items() if "mine" in key} == before
    assert {p.name for p in tmp_path.iterdir()} == {name, *mine}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_backup_that_is_called_partial_is_not_emptied(tmp_path, name):
    """`mv hf hf.partial`: our own files, but a user's folder."""
    save(tmp_path / name, recipes_of(name), **NAMES[name])
    (tmp_path / name).rename(tmp_path / f"{name}.partial")
    before = contents(tmp_path)
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises((FileExistsError, ValueError), match="partial"):
            save(tmp_path / name, recipes_of(name), **NAMES[name], **options)
        assert contents(tmp_path) == before


def test_a_stale_journal_does_not_make_another_file_ours(tmp_path):
    out = tmp_path / "m.safetensors"

    def stop(done, total):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        save(out, three(), progress=stop)
    partial = tmp_path / "m.safetensors.partial"
    (tmp_path / "copy").write_text("mine")
    (tmp_path / "copy").rename(partial)
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises((NotOurs, ValueError), match="partial"):
            save(out, three(), **options)
        assert partial.read_text() == "mine"


def test_another_users_link_is_not_followed(tmp_path):
    """Not even in that user's own folder."""
    (tmp_path / "important.safetensors").write_text("important")
    (tmp_path / "theirs").mkdir()
    link = tmp_path / "theirs" / "m.safetensors"
    link.symlink_to("../important.safetensors")
    try:
        os.lchown(link, 65534, 65534)
        os.chown(tmp_path / "theirs", 65534, 65534)
    except PermissionError:
        pytest.skip("only root can give a link away")
    for options in ({}, {"overwrite": True}):
        with pytest.raises(PermissionError, match="link of user 65534"):
            save(link, three(), **options)
    assert (tmp_path / "important.safetensors").read_text() == "important"


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("moment", [1, 3])
def test_a_folder_swapped_for_a_link_leads_nowhere(tmp_path, name, moment):
    """Whoever may rename in the folder puts a link where ours was: nothing is written through it."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "model-00001-of-00001.safetensors").write_text("important")
    before = snapshot(victim)
    calls = []

    def swap(done, total):
        calls.append(done)
        if len(calls) == moment:
            (tmp_path / f"{name}.partial").rename(tmp_path / "elsewhere")
            (tmp_path / f"{name}.partial").symlink_to(victim)

    with pytest.raises(OSError, match=r"partial|Not a directory"):
        save(tmp_path / name, recipes_of(name), progress=swap, **NAMES[name])
    assert snapshot(victim) == before


@pytest.mark.parametrize("planted", ["link", "file", "folder"])
def test_what_comes_between_look_and_rename_is_noticed(tmp_path, monkeypatch, planted):
    """Another file under the partial's name in the last moment: it does not pass for what was written."""
    out, original = tmp_path / "m.safetensors", os.replace

    def replace(source, target, **keywords):
        os.unlink(tmp_path / "m.safetensors.partial")
        if planted == "link":
            (tmp_path / "m.safetensors.partial").symlink_to("/etc/passwd")
        else:
            (tmp_path / "m.safetensors.partial").write_text("theirs")
        original(source, target, **keywords)

    save(out, three())
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(FileNotFoundError, match="meanwhile"):
        save(out, three(1), overwrite=True)


def test_the_partial_folder_is_private(tmp_path):
    modes = []
    before = os.umask(0)
    try:
        for name in FOLDERS:
            partial = tmp_path / f"{name}.partial"
            save(
                tmp_path / name,
                recipes_of(name),
                progress=lambda *_, partial=partial: modes.append(partial.stat().st_mode),
                **NAMES[name],
            )
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o777
    finally:
        os.umask(before)
    assert {stat.S_IMODE(mode) for mode in modes} == {0o700}


def test_pipes_are_not_waited_for(tmp_path):
    script = """
import os, sys
from pathlib import Path
from fastinit.checkpoint import load_manifest, save, verify
import fastinit as fi
r = fi.recipe("normal", (4,), seed=0, name="a")
os.chdir(sys.argv[1])
os.mkdir("hf"); os.mkdir("z.zarr"); os.mkdir("y.zarr"); os.mkdir("x")
for name in ("m.safetensors", "m.npy", "m.toml", "hf/model.safetensors.index.json", "z.zarr/zarr.json", "x/model.safetensors"):
    os.mkfifo(name)
save("w.zarr", fi.recipe("normal", (4,), seed=0, name="a"))
os.unlink("w.zarr/c/0"); os.mkfifo("w.zarr/c/0")
for call in (
    *(lambda name=name: verify(name, r) for name in ("m.safetensors", "m.npy", "hf", "z.zarr", "w.zarr", "x")),
    lambda: load_manifest("m.toml"),
    *(lambda o=o: save("m.safetensors", r, **o) for o in ({}, {"resume": True}, {"overwrite": True})),
    *(lambda o=o: save("x", r, max_shard_size=9, **o) for o in ({}, {"resume": True})),
    lambda: save("z.zarr", r, resume=True),
):
    try:
        call()
    except (OSError, ValueError):
        print("refused")
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["refused"] * 13, "")


def test_a_zarr_is_not_resumed_through_a_link(tmp_path, monkeypatch):
    """An archive can hold a partial folder and its journal, and links in it."""
    monkeypatch.setattr(zarr_store, "STRETCH", 1)
    monkeypatch.setattr(zarr_store, "CHUNK", 100)
    out, victim = tmp_path / "m.zarr", tmp_path / "other.zarr"
    save(victim, three(1, size=50))
    calls = []

    def stop(done, total):
        calls.append(done)
        if len(calls) == 5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        save(out, three(size=50), progress=stop)
    last = list(three())[-1]
    shutil.rmtree(tmp_path / "m.zarr.partial" / last)
    (tmp_path / "m.zarr.partial" / last).symlink_to(victim / last)
    before = snapshot(victim)
    for options in ({"resume": True}, {"resume": True, "overwrite": True}):
        with pytest.raises(NotOurs, match=rf"symbolic link is in the way.*m\.zarr\.partial/{last}"):
            save(out, three(size=50), **options)
        assert snapshot(victim) == before
    assert save(out, three(size=50), overwrite=True)
    assert snapshot(victim) == before
    assert verify(out, three(size=50))
