"""What a replacement keeps: modes, owners, files that cannot be removed; and file systems that lack something."""

import errno
import json
import os
import shutil
import stat
import tempfile
import traceback
from pathlib import Path

import pytest

import fastinit as fi
from fastinit.checkpoint import save, verify
from fastinit.checkpoint.opening import Directory, InTheWay
from models import three

NAMES = {"m.safetensors": {}, "m.npy": {}, "hf": {"max_shard_size": 1000}, "m.zarr": {}}
FOLDERS = ("hf", "m.zarr")


def recipes_of(name, seed=0):
    return fi.recipe("normal", (30,), seed=seed, name="a") if name == "m.npy" else three(seed, size=50)


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
