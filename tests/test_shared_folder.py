"""A folder that others write to as well: what they put at our temporary names is not followed, waited for or removed."""

import errno
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import pytest

import fastinit as fi
from crashing import contents
from fastinit.checkpoint import save, verify, writing, zarr_store
from fastinit.checkpoint.opening import Directory, InTheWay, NotOurs
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


# ---- modes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o666])
def test_a_replaced_file_keeps_its_mode(tmp_path, mode):
    out, seen = tmp_path / "m.safetensors", []
    save(out, three())
    assert stat.S_IMODE(out.stat().st_mode) == 0o666 & ~current_umask()
    out.chmod(mode)

    def look(done, total):
        seen.append(stat.S_IMODE((tmp_path / "m.safetensors.partial").stat().st_mode))

    save(out, three(1), overwrite=True, progress=look)
    assert set(seen) == {0o600}  # private from the first byte on
    assert stat.S_IMODE(out.stat().st_mode) == mode


def as_user(function):
    """Call it in a child that is another user, where this process is root, who may do everything."""
    if os.geteuid() != 0:
        function()
        return
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def stopped(out, recipes, **options):
    """A call that was cut off in its middle."""

    def stop(done, total):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        save(out, recipes, progress=stop, **options)


@pytest.mark.parametrize("mode", [0o400, 0o444])
@pytest.mark.parametrize("again", [{"resume": True, "overwrite": True}, {"overwrite": True}])
def test_the_replacement_of_a_read_only_file_goes_on(mode, again):
    """`chmod a-w model.safetensors` is no reason why a write that was killed could not be resumed."""

    def write():
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "m.safetensors"
            save(out, three())
            out.chmod(mode)
            stopped(out, three(1), overwrite=True)
            assert save(out, three(1), **again)
            assert stat.S_IMODE(out.stat().st_mode) == mode
            out.chmod(0o600)
            assert verify(out, three(1))
            assert os.listdir(folder) == ["m.safetensors"]

    as_user(write)


@pytest.mark.parametrize("again", [{"resume": True, "overwrite": True}, {"overwrite": True}])
def test_root_goes_on_with_the_replacement_of_another_users_file(tmp_path, monkeypatch, again):
    out = tmp_path / "m.safetensors"
    save(out, three())
    try:
        os.chown(out, 65534, 65533)
    except PermissionError:
        pytest.skip("only root can give a file away")
    stopped(out, three(1), overwrite=True)

    def refuse(*arguments, **keywords):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(PermissionError):
            save(out, three(1), resume=True, overwrite=True)
    partial = (tmp_path / "m.safetensors.partial").stat()
    assert (partial.st_uid, stat.S_IMODE(partial.st_mode)) == (0, 0o600)
    assert save(out, three(1), **again)
    assert (out.stat().st_uid, out.stat().st_gid) == (65534, 65533)
    assert verify(out, three(1))


def current_umask():
    now = os.umask(0o022)
    os.umask(now)
    return now


def test_a_replaced_folder_keeps_the_modes_of_everything_in_it(tmp_path):
    out = tmp_path / "hf"
    save(out, three(), max_shard_size=1000)
    (out / "private").mkdir()
    (out / "private" / "deep").mkdir()
    (out / "private" / "key").write_text("secret")
    modes = {"": 0o750, "private": 0o700, "private/deep": 0o711, "private/key": 0o400}
    modes |= {"model-00002-of-00003.safetensors": 0o600}
    for name, mode in modes.items():
        (out / name).chmod(mode)
    save(out, three(1), max_shard_size=1000, overwrite=True)
    assert {name: stat.S_IMODE((out / name).stat().st_mode) for name in modes} == modes
    assert verify(out, three(1))


def test_a_replaced_zarr_and_an_empty_folder_keep_their_modes(tmp_path):
    out = tmp_path / "m.zarr"
    out.mkdir(0o700)
    save(out, three())
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    for name, mode in (("a", 0o700), ("a/zarr.json", 0o600)):
        (out / name).chmod(mode)
    save(out, three(1), overwrite=True)
    assert [stat.S_IMODE((out / name).stat().st_mode) for name in ("", "a", "a/zarr.json")] == [0o700, 0o700, 0o600]


def test_another_group_gets_no_rights(tmp_path, monkeypatch):
    out = tmp_path / "m.safetensors"
    save(out, three())
    try:
        os.chown(out, 65534, 65533)
    except PermissionError:
        pytest.skip("only root can give a file away")
    out.chmod(0o640)
    save(out, three(1), overwrite=True)
    assert (out.stat().st_uid, out.stat().st_gid, stat.S_IMODE(out.stat().st_mode)) == (65534, 65533, 0o640)

    def refuse(*arguments):
        raise PermissionError(errno.EPERM, "not yours")

    monkeypatch.setattr(os, "fchown", refuse)
    save(out, three(2), overwrite=True)
    assert (out.stat().st_uid, stat.S_IMODE(out.stat().st_mode)) == (os.geteuid(), 0o600)


# ---- what cannot be removed --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FOLDERS)
def test_a_replaced_folder_that_cannot_be_removed_is_said(tmp_path, monkeypatch, name):
    save(tmp_path / name, recipes_of(name), **NAMES[name])

    def refuse(path, *arguments, **keywords):
        raise PermissionError(errno.EACCES, "Permission denied", "inner")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        with pytest.raises(
            OSError, match="is complete, but the folder that it replaced could not be removed"
        ) as caught:
            save(tmp_path / name, recipes_of(name, 1), overwrite=True, **NAMES[name])
    left = caught.value.filename
    assert os.path.isdir(left)
    assert os.path.isabs(left)
    assert verify(tmp_path / name, recipes_of(name, 1))
    assert {str(p) for p in tmp_path.iterdir()} == {str(tmp_path / name), left}
    assert save(tmp_path / name, recipes_of(name, 1), resume=True, **NAMES[name])
    assert save(tmp_path / name, recipes_of(name, 2), overwrite=True, **NAMES[name])
    assert verify(tmp_path / name, recipes_of(name, 2))
    assert {str(p) for p in tmp_path.iterdir()} == {str(tmp_path / name), left}  # it has been said, and stays


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("which", [0, 1])
def test_a_folder_that_cannot_be_renamed(tmp_path, monkeypatch, name, which):
    """Of the two renames one fails: what was there is there, and what is to replace it stays private."""
    save(tmp_path / name, recipes_of(name), **NAMES[name])
    original, calls = os.replace, []

    def replace(source, target, **keywords):
        if name in (source, target):
            calls.append(source)
            if len(calls) == which + 1:
                raise PermissionError(errno.EPERM, "Operation not permitted")
        original(source, target, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(PermissionError):
            save(tmp_path / name, recipes_of(name, 1), overwrite=True, **NAMES[name])
    assert calls[0] == name
    assert verify(tmp_path / name, recipes_of(name))
    assert stat.S_IMODE((tmp_path / f"{name}.partial").stat().st_mode) == 0o700
    assert save(tmp_path / name, recipes_of(name, 1), overwrite=True, resume=True, **NAMES[name])
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert verify(tmp_path / name, recipes_of(name, 1))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_file_that_cannot_be_kept_is_named():
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o777)
        (folder / "hf").mkdir()
        (folder / "hf" / "key").write_text("secret")
        (folder / "hf" / "key").chmod(0o600)

        def write():
            with pytest.raises(PermissionError, match=str(folder / "hf" / "key")):
                save(folder / "hf", three(), max_shard_size=1000, overwrite=True)

        as_user(write)
    finally:
        shutil.rmtree(folder)


def test_killed_while_it_is_removed(tmp_path):
    """The folder that was moved aside is found by the journal, and by nothing else."""
    out, name = tmp_path / "hf", ".hf.replaced-0011223344556677"
    save(out, three(), max_shard_size=1000)
    aside = tmp_path / name
    aside.mkdir()
    (aside / "old").write_text("old")
    (tmp_path / ".hf.replaced-44556677").mkdir()

    def journal(inode):
        text = '{"fastinit": "journal", "identity": "x", "inode": 1}\n' + json.dumps({"replaced": name, "inode": inode})
        (tmp_path / "hf.journal").write_text(text + "\n")

    journal(aside.stat().st_ino + 1)  # another folder of that name
    save(out, three(1), max_shard_size=1000, overwrite=True)
    assert aside.exists()
    journal(aside.stat().st_ino)
    save(out, three(2), max_shard_size=1000, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hf.replaced-44556677", "hf"]


@pytest.mark.parametrize(
    "named", ["../home", "home", ".hf.replaced-00112233/../home", ".other.replaced-0011223344556677"]
)
@pytest.mark.parametrize("out_is_there", [True, False])
def test_a_journal_that_came_with_someone_elses_files_removes_nothing(tmp_path, named, out_is_there):
    """An archive can hold one, which is the user's own once it is unpacked; numbers of folders can be guessed."""
    work = tmp_path / "work"
    (work / ".hf.replaced-00112233").mkdir(parents=True)
    victim = work / named
    victim.mkdir(exist_ok=True)
    (victim / "important").write_text("important")
    if out_is_there:
        (work / "hf").mkdir()
    line = json.dumps({"replaced": named, "inode": victim.stat().st_ino})
    (work / "hf.journal").write_text('{"fastinit": "journal", "identity": "x", "inode": 1}\n' + line + "\n")
    assert save(work / "hf", three(), max_shard_size=1000)
    assert (victim / "important").read_text() == "important"
    assert verify(work / "hf", three())


def test_a_folder_with_a_long_name_is_replaced(tmp_path):
    out = tmp_path / ("x" * 240)
    save(out, three(), max_shard_size=1000)
    save(out, three(1), max_shard_size=1000, overwrite=True)
    assert verify(out, three(1))
    assert list(tmp_path.iterdir()) == [out]


# ---- systems that lack something ---------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
def test_a_file_system_that_sets_nothing_aside(tmp_path, monkeypatch, code):
    def refuse(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    recipe = fi.recipe("orthogonal", (600, 600), seed=0, name="o")
    assert save(tmp_path / "o.safetensors", recipe)
    assert verify(tmp_path / "o.safetensors", recipe)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_system_with_owners_of_its_own(tmp_path, monkeypatch, name):
    """sshfs, SMB, FAT, NFS for root: what this process makes belongs to someone else, and is its own all the same."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    (tmp_path / "disk").mkdir()
    out = tmp_path / name
    out.symlink_to(tmp_path / "disk" / name)
    stopped(out, recipes_of(name), **NAMES[name])
    assert save(out, recipes_of(name), resume=True, **NAMES[name])
    stopped(out, recipes_of(name, 1), overwrite=True, **NAMES[name])
    assert save(out, recipes_of(name, 2), overwrite=True, **NAMES[name])
    assert verify(out, recipes_of(name, 2))
    assert [p.name for p in (tmp_path / "disk").iterdir()] == [name]


def test_a_directory_that_may_not_be_listed(tmp_path):
    folder = tmp_path / "drop"
    folder.mkdir()
    folder.chmod(0o333)
    root = os.geteuid() == 0
    if root:
        os.chown(folder, 65534, 65534)
        os.chmod(tmp_path, 0o755)
        os.seteuid(65534)
    try:
        try:
            os.stat(folder)
        except PermissionError:
            pytest.skip("the folder of the tests is private")
        assert save(folder / "m.safetensors", three())
    finally:
        if root:
            os.seteuid(0)
    assert verify(folder / "m.safetensors", three())


def test_rename_new_without_links_does_not_replace(tmp_path, monkeypatch):
    def no_links(*arguments, **keywords):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").symlink_to("nowhere")
    with Directory.open(tmp_path) as directory, pytest.raises(InTheWay):
        directory.rename_new("a", "b")
    assert os.readlink(tmp_path / "b") == "nowhere"
