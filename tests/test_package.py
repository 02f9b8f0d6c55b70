"""What the source package and the wheel hold. `make package` builds, installs and tries them."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath

import pytest

from fastinit.cuda.compiling import SOURCES

ROOT = Path(__file__).parent.parent
#: what setuptools adds to a source package
GENERATED = {"PKG-INFO", "setup.cfg"}

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout: git knows what belongs to it")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The files of git, those in a source package made of a copy of them, and those that would be installed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    files = {name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()}
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("out")
    for name in files:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "setup.py", "-q", "sdist", "-d", str(out), "build_py", "-d", str(out / "installed")]
    subprocess.run(command, cwd=copy, capture_output=True, check=True)
    (archive,) = out.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        packed = {str(PurePosixPath(*PurePosixPath(m.name).parts[1:])) for m in file.getmembers() if m.isfile()}
    installed = {str(p.relative_to(out / "installed")) for p in (out / "installed").rglob("*") if p.is_file()}
    return files, packed, installed


def test_the_source_package_holds_what_git_holds(built):
    files, packed, _ = built
    assert {name for name in packed if ".egg-info/" not in name} - GENERATED == files


def test_every_module_and_declaration_is_installed(built):
    files, _, installed = built
    wanted = (".py", ".pyi", ".pxd", "py.typed")
    modules = {
        name.removeprefix("src/") for name in files if name.startswith("src/fastinit/") and name.endswith(wanted)
    }
    assert installed == modules | {f"fastinit/csrc/{name}" for name in SOURCES}
