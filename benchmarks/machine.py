"""What a result was measured on: the CPU, its caches, the compiler, the libraries, the commit."""

import platform
import re
import subprocess
import sysconfig
from pathlib import Path

import fastinit as fi
import peers

ROOT = Path(__file__).parent.parent


def _cpuinfo():
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    return dict(re.findall(r"^([\w ]+?)\s*: (.*)$", text.partition("\n\n")[0], re.MULTILINE))


def microarchitecture(info):
    """The generation of an AMD CPU, which its name may hide; "" of others."""
    if info.get("vendor_id") != "AuthenticAMD":
        return ""
    family, model = int(info["cpu family"]), int(info["model"])
    if family == 0x1A:
        return "Zen 5"
    if family == 0x19:  # models 10h to 1Fh, 60h to 7Fh and A0h to AFh are Zen 4
        return "Zen 4" if model >> 4 in (1, 6, 7, 10) else "Zen 3"
    return ""


def cpu():
    """The CPU's name, as people would look for it."""
    info = _cpuinfo()
    name = info.get("model name") or platform.processor() or platform.machine()
    name = re.sub(r"\((R|TM)\)|CPU|Processor|@.*", "", name)
    return " ".join(f"{name} {microarchitecture(info)}".split())


def file_name():
    """`benchmarks/results/NAME.json`: the CPU, and what kernels it runs."""
    return re.sub(r"[^a-z0-9]+", "-", f"{cpu()} {fi._kernels.isa()}".lower()).strip("-")


def caches():
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((index / entry).read_text().strip() for entry in ("level", "type", "size"))
        if kind != "Instruction":
            found[f"L{level}"] = size
    return found


def commit():
    run = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return run.stdout.strip()


def describe():
    return {
        "cpu": cpu(),
        "caches": caches(),
        "cpus": fi.get_num_threads(),
        "isa": fi._kernels.isa(),
        "compiler": sysconfig.get_config_var("CC")
        and _first_line([sysconfig.get_config_var("CC").split()[0], "--version"]),
        "system": platform.platform(terse=True),
        "versions": {"Python": platform.python_version()} | {n: p.version() for n, p in peers.installed().items()},
    }


def _first_line(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return ""
