"""What is in the way and what the disk does: nothing is overwritten unasked, nothing is lost, one clear error."""

import contextlib
import errno
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

import fastinit as fi
from crashing import contents
from crashing import model as crash_model
from fastinit.checkpoint import save, verify, writing
from fastinit.checkpoint.opening import Directory
from fastinit.checkpoint.replacing import FolderOnItsWay
from models import three

# ---- in the way --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["m.safetensors", "m.npy", "m.zarr", "hf"])
def test_what_is_there_is_not_touched(tmp_path, name):
    recipes, options = crash_model(name, 30), {"max_shard_size": 1000} if name == "hf" else {}
    out = tmp_path / name
    if name in ("m.zarr", "hf"):
        out.mkdir()
        (out / "mine").write_text("mine")
    else:
        out.write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match="not overwritten"):
        save(out, recipes, **options)
    assert contents(tmp_path) == before


def test_a_folder_that_is_not_zarrs_is_not_overwritten(tmp_path):
    (tmp_path / "m.zarr").mkdir()
    (tmp_path / "m.zarr" / "mine").write_text("mine")
    with pytest.raises(FileExistsError, match="no zarr folder"):
        save(tmp_path / "m.zarr", three(), overwrite=True)
    assert contents(tmp_path) == {"m.zarr/mine": b"mine"}


def test_an_empty_folder_may_become_the_models(tmp_path):
    (tmp_path / "hf").mkdir()
    save(tmp_path / "hf", three(), max_shard_size=1000)
    assert verify(tmp_path / "hf", three())


def test_folders_for_files_and_files_for_folders(tmp_path):
    (tmp_path / "m.safetensors").mkdir()
    (tmp_path / "hf").write_text("mine")
    (tmp_path / "x.safetensors.partial").mkdir()
    for overwrite in (False, True):
        with pytest.raises(IsADirectoryError, match=r"m\.safetensors"):
            save(tmp_path / "m.safetensors", three(), overwrite=overwrite)
        with pytest.raises(NotADirectoryError, match="hf"):
            save(tmp_path / "hf", three(), max_shard_size=1000, overwrite=overwrite)
        with pytest.raises(IsADirectoryError, match="partial"):
            save(tmp_path / "x.safetensors", three(), overwrite=overwrite)
    assert {p.name for p in tmp_path.iterdir()} == {"m.safetensors", "hf", "x.safetensors.partial"}


def test_a_target_that_appears_meanwhile_is_not_overwritten(tmp_path):
    out = tmp_path / "m.safetensors"

    def appear(done, total):
        out.write_text("mine")

    with pytest.raises(FileExistsError, match="not overwritten"):
        save(out, three(), progress=appear)
    assert out.read_text() == "mine"
    out.unlink()
    save(out, three(), resume=True)
    assert verify(out)


def test_a_folder_that_appears_meanwhile_is_not_overwritten(tmp_path):
    out = tmp_path / "hf"

    def appear(done, total):
        out.mkdir(exist_ok=True)
        (out / "mine").write_text("mine")

    with pytest.raises(FileExistsError, match="not overwritten"):
        save(out, three(), max_shard_size=1000, progress=appear)
    assert contents(out) == {"mine": b"mine"}


@pytest.mark.parametrize("replaced", [False, True])
def test_a_partial_removed_meanwhile(tmp_path, replaced):
    out = tmp_path / "m.safetensors"

    def remove(done, total):
        left = out.with_name("m.safetensors.partial")
        left.unlink(missing_ok=True)
        if replaced:
            left.write_text("mine")

    with pytest.raises(FileNotFoundError, match="partial"):
        save(out, three(), progress=remove)
    assert not out.exists()


def test_a_folder_removed_meanwhile(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match="there"):
        save(folder / "m.safetensors", three(), progress=lambda done, total: shutil.rmtree(folder, ignore_errors=True))
    assert not folder.exists()


def test_two_writers_of_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "PIECE", 4000)
    out, inside, go_on = tmp_path / "m.safetensors", threading.Event(), threading.Event()

    def wait(done, total):
        inside.set()
        assert go_on.wait(60)

    first = threading.Thread(target=save, args=(out, three()), kwargs={"progress": wait})
    first.start()
    assert inside.wait(60)
    try:
        for options in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(BlockingIOError, match="another process is writing"):
                save(out, three(seed=1), **options)
    finally:
        go_on.set()
        first.join()
    assert verify(out, three())


def test_a_folder_that_is_being_written_is_not_started_again(tmp_path):
    out, inside, go_on = tmp_path / "hf", threading.Event(), threading.Event()

    def wait(done, total):
        if done > total // 2:
            inside.set()
            assert go_on.wait(60)

    options = {"max_shard_size": 1000}
    first = threading.Thread(target=save, args=(out, three()), kwargs={"progress": wait, **options})
    first.start()
    assert inside.wait(60)

    def files():  # other threads of the first go on meanwhile, and give files their names
        return {path.name.removesuffix(".partial") for path in (tmp_path / "hf.partial").iterdir()}

    before = files()
    try:
        with pytest.raises(BlockingIOError, match="another process is writing"):
            save(out, three(), overwrite=True, **options)
        assert files() == before
    finally:
        go_on.set()
        first.join()
    assert verify(out, three())


def test_a_file_of_a_folder_removed_meanwhile(tmp_path):
    def remove(done, total):
        for path in (tmp_path / "hf.partial").glob("*.safetensors"):
            path.unlink()

    with pytest.raises(FileNotFoundError, match="removed meanwhile"):
        save(tmp_path / "hf", three(), max_shard_size=1000, progress=remove)


def test_nothing_is_written_again_where_all_is_there(tmp_path):
    """As a supervisor does that always starts with the same options."""
    for name, options in (("m.safetensors", {}), ("hf", {"max_shard_size": 1000}), ("m.zarr", {})):
        assert save(tmp_path / name, three(), **options)
        before = (tmp_path / name).stat()
        assert save(tmp_path / name, three(), resume=True, overwrite=True, **options)
        assert os.path.samestat((tmp_path / name).stat(), before)
    assert save(tmp_path / "hf", three(), max_shard_size=1000, part=(1, 2), resume=True, overwrite=True)
    with pytest.raises(FileExistsError):  # another layout
        save(tmp_path / "hf", three(), max_shard_size=500_000, resume=True)
    assert len(list(tmp_path.iterdir())) == 3


def test_someone_else_in_the_folder_is_said(tmp_path):
    (tmp_path / "hf.partial").mkdir()
    fd = os.open(tmp_path / "hf.partial", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    with pytest.raises(BlockingIOError, match="another process is in it: resume"):
        save(tmp_path / "hf", three(), max_shard_size=1000)
    os.close(fd)
    assert save(tmp_path / "hf", three(), max_shard_size=1000, resume=True)
    assert [p.name for p in tmp_path.iterdir()] == ["hf"]


@pytest.mark.parametrize("moment", ["before it is opened", "before it is locked"])
def test_a_part_that_comes_when_the_folder_is_being_finished(tmp_path, monkeypatch, moment):
    out, options = tmp_path / "hf", {"max_shard_size": 1000}
    call = "open" if moment == "before it is opened" else "flock"
    module = os if call == "open" else fcntl
    original, calls = getattr(module, call), []

    def finish(*arguments, **keywords):
        if not calls and (call == "flock" or str(arguments[0]).endswith("hf.partial")):
            calls.append(call)
            monkeypatch.setattr(module, call, original)
            (tmp_path / "hf.partial").rmdir()  # as it is while another process renames it
            save(out, three(), **options)
        return original(*arguments, **keywords)

    monkeypatch.setattr(module, call, finish)
    assert save(out, three(), part=(0, 3), resume=True, **options)
    assert calls
    assert [p.name for p in tmp_path.iterdir()] == ["hf"]


def test_a_part_that_writes_while_another_begins(tmp_path, monkeypatch):
    """The second has looked at the journal before the first made it, and at the folder after the first wrote to it."""
    out, options, original = tmp_path / "hf", {"max_shard_size": 1000}, FolderOnItsWay.begin

    def begin(*arguments):
        monkeypatch.setattr(FolderOnItsWay, "begin", original)
        assert not save(out, three(), part=(0, 2), **options)
        return original(*arguments)

    monkeypatch.setattr(FolderOnItsWay, "begin", begin)
    assert save(out, three(), part=(1, 2), **options)
    assert verify(out, three())
    assert [p.name for p in tmp_path.iterdir()] == ["hf"]


def test_parts_of_different_seeds_are_not_put_together(tmp_path):
    options = {"max_shard_size": 1000}
    assert not save(tmp_path / "hf", three(seed=0), part=(0, 2), **options)
    for _ in range(2):
        with pytest.raises(ValueError, match="is not mixed with this one"):
            save(tmp_path / "hf", three(seed=1), part=(1, 2), **options)
    assert not (tmp_path / "hf").exists()


def test_two_last_parts_at_once(tmp_path):
    """Processes that finish the last two parts at the same time: one of them finishes the folder, neither fails."""
    recipes = {f"t{i}": fi.recipe("normal", (1000,), seed=0, name=f"t{i}") for i in range(8)}
    script = f"""
import sys, fastinit as fi
recipes = {{f"t{{i}}": fi.recipe("normal", (1000,), seed=0, name=f"t{{i}}") for i in range(8)}}
fi.checkpoint.save({str(tmp_path / "hf")!r}, recipes, max_shard_size=4000, part=(int(sys.argv[1]), 4))
"""
    running = [subprocess.Popen([sys.executable, "-c", script, str(i)]) for i in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    assert verify(tmp_path / "hf", recipes)
    assert [p.name for p in tmp_path.iterdir()] == ["hf"]


# ---- the disk ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "code"), [("pwrite", errno.ENOSPC), ("fdatasync", errno.EIO), ("fsync", errno.EIO), ("posix_fallocate", errno.ENOSPC), ("ftruncate", errno.EIO)])  # fmt: skip
def test_what_the_disk_says_is_passed_on_and_the_partial_kept(tmp_path, monkeypatch, call, code):
    out, original, calls = tmp_path / "m.safetensors", getattr(os, call), []

    def fail(*arguments):
        calls.append(call)
        if len(calls) > (call != "posix_fallocate"):
            raise OSError(code, os.strerror(code))
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(writing, "PIECE", 4000)
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match=r"m\.safetensors") as caught:
            save(out, three())
    assert caught.value.errno == code
    assert not out.exists()
    assert (tmp_path / "m.safetensors.partial").exists()
    save(out, three(), resume=True)
    assert verify(out, three())


def test_a_short_write_is_gone_on_with(tmp_path, monkeypatch):
    original = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: original(fd, memoryview(data)[:1000], at))
    save(tmp_path / "m.safetensors", three())
    assert verify(tmp_path / "m.safetensors", three())


def test_no_room_is_said_before_anything_is_made(tmp_path, monkeypatch):
    class Status:
        f_bfree = f_bavail = 10
        f_blocks, f_frsize = 100, 4096

    monkeypatch.setattr(os, "statvfs", lambda path: Status)
    with pytest.raises(OSError, match="no room on the disk: 104280 bytes are needed, 40960 are free") as caught:
        save(tmp_path / "m.safetensors", three(), progress=lambda done, total: pytest.fail("too late"))
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    save(tmp_path / "m.safetensors", three(), resume=True)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small file system needs the right to mount: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("name", ["m.safetensors", "hf", "m.zarr"])
def test_going_on_needs_only_the_room_that_is_not_taken_yet(small_disk, name):
    """Stopped before the first entry of the journal, with more than half of the disk taken."""
    options = {"max_shard_size": "5MB"} if name == "hf" else {}
    recipes = {"w": fi.recipe("normal", (800, 1000), seed=0, name="w")}

    def stop(done, total):
        if done > 0.9 * total:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        save(small_disk / name, recipes, progress=stop, **options)
    save(small_disk / name, recipes, resume=True, **options)
    assert verify(small_disk / name, recipes)


@pytest.mark.parametrize("kind", ["normal", "orthogonal"])
@pytest.mark.parametrize("fits", [False, True])
def test_a_full_disk(small_disk, fits, kind):
    """Full from the start, or filled by someone else meanwhile; then there is room again."""
    out, hog = small_disk / "m.safetensors", small_disk / "hog"
    recipes = {
        "z": fi.recipe("zeros", (1 << 18,), seed=0, name="z"),
        "w": fi.recipe(kind, (600 if fits else 1000, 900), seed=0, name="w"),
    }

    def fill(done, total):
        with open(hog, "ab", buffering=0) as file, contextlib.suppress(OSError):
            file.write(bytes(1 << 22))

    if not fits:
        (small_disk / "hog").write_bytes(bytes(1 << 20))
    with pytest.raises(OSError, match=r"m\.safetensors") as caught:
        save(out, recipes, progress=fill if fits else None)
    assert caught.value.errno == errno.ENOSPC
    assert not out.exists()
    assert (small_disk / "m.safetensors.partial").exists()
    hog.unlink()
    if not fits:
        subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    save(out, recipes, resume=True)
    assert verify(out, recipes)


def test_a_folder_that_may_not_be_written():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:  # who may write anywhere
            os.seteuid(65534)
        try:
            with pytest.raises(PermissionError, match=r"m\.safetensors"):
                save(folder / "m.safetensors", three())
            with pytest.raises(PermissionError, match=r"hf"):
                save(folder / "hf", three(), max_shard_size=1000)
        finally:
            if root:
                os.seteuid(0)
        assert not list(folder.iterdir())


def test_a_folder_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="file"):
        save(tmp_path / "file" / "m.safetensors", three())


def test_without_hard_links(tmp_path, monkeypatch):
    """As on some network file systems."""

    def no_links(*arguments, **keywords):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    out = tmp_path / "m.safetensors"
    save(out, three())
    assert verify(out)
    with pytest.raises(FileExistsError):
        Directory.open(tmp_path).rename_new(out.name, out.name)
    save(tmp_path / "hf", three(), max_shard_size=1000)
    (tmp_path / "hf" / "config.json").write_text("{}")
    save(tmp_path / "hf", three(1), max_shard_size=1000, overwrite=True)
    assert (tmp_path / "hf" / "config.json").read_text() == "{}"


def test_without_locks(tmp_path, monkeypatch):
    def no_locks(*arguments):
        raise OSError(errno.ENOTSUP, "no locks here")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    save(tmp_path / "m.safetensors", three())
    save(tmp_path / "hf", three(), max_shard_size=1000)
    assert verify(tmp_path / "hf", three())
