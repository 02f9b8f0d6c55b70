"""Draws the pictures of README and docs/performance.md from a file of benchmarks/results.

    python benchmarks/plot.py [NAME] [-o FOLDER]

NAME is a file of that folder without its suffix; without one, the file that was measured last. Whiskers are quartiles.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import textwrap
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from fastinit.plotting import STYLES
from scale import QUICK

RESULTS = Path(__file__).parent / "results"
PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
OURS, CEILING, PEER = "#0072B2", "#c9c9c9", "#E69F00"
INK = "#222222"
MARGIN = 0.55  # inches below a picture for its caption


def newest():
    paths = list(RESULTS.glob("*.json"))
    if not paths:
        raise SystemExit("nothing in benchmarks/results: make bench first")
    return max(paths, key=lambda path: max(s["date"] for s in json.loads(path.read_text())["subjects"].values())).stem


class Measured:
    """One file of results."""

    def __init__(self, name):
        held = json.loads((RESULTS / f"{name}.json").read_text())
        self.machine, self.subjects = held["machine"], held["subjects"]

    def jobs(self, subject):
        return self.subjects.get(subject, {"jobs": {}})["jobs"]

    def caption(self, subject, what):
        held, machine = self.subjects[subject], self.machine
        return (
            f"{machine['cpu']}, {machine['isa'].upper().replace('512', '-512')}, {machine['cpus']} threads. {what} "
            f"Medians of one run of `{held['by']}`, {held['date']}, {held['commit']}."
        )


def figure_of(width, height, title, caption):
    figure = Figure(figsize=(width, height + MARGIN), layout="constrained")
    figure.set_facecolor("white")
    figure.suptitle(title, fontsize=11, color=INK)
    figure.get_layout_engine().set(rect=(0, MARGIN / (height + MARGIN), 1, 1 - MARGIN / (height + MARGIN)))
    figure.text(0.01, 0.02, wrapped(caption, int(width * 15)), fontsize=7.5, color="#555555", va="bottom")
    return figure


def wrapped(text, columns):
    return "\n".join(textwrap.wrap(text, columns))


def colour(name):
    return {"fastinit": OURS, "constant fill": CEILING}.get(name, PEER)


def plain_numbers(axis):
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def error(entry, scale):
    return [[(entry["rate"] - entry["low"]) / scale], [(entry["high"] - entry["rate"]) / scale]]


def bars(ax, entries, scale, log):
    """A bar a contestant, ours on top, with its figure beside it."""
    names = [name for name in entries if name != "constant fill"]
    names += [name for name in entries if name == "constant fill"]
    for place, name in enumerate(names):
        entry = entries[name]
        rate = entry["rate"] / scale
        hatch = "///" if name == "constant fill" else None
        ax.barh(place, rate, color=colour(name), hatch=hatch, edgecolor="white", height=0.75, log=log)
        ax.errorbar(rate, place, xerr=error(entry, scale), color=INK, linewidth=0.8, capsize=2)
        ax.annotate(
            f" {rate:.3g}",
            (entry["high"] / scale, place),
            va="center",
            fontsize=8,
            color=INK,
            annotation_clip=False,
            xytext=(3, 0),
            textcoords="offset points",
        )
    ax.set_yticks(range(len(names)), names, fontsize=8.5)
    ax.invert_yaxis()
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", alpha=0.25)
    ax.set_axisbelow(True)


def throughput(measured):
    """By distribution, against the peers and the ceiling."""
    jobs = measured.jobs("fills")
    shown = ["uniform float32", "normal float32", "truncated ±2 float32", "normal bfloat16"]
    shown = [job for job in shown if job in jobs]
    caption = measured.caption("fills", "1 GiB whose pages are there; torch and NumPy fill a part of it.")
    rows = max(len(jobs[job]) for job in shown)
    figure = figure_of(9, 0.42 * rows * 2 + 0.9, "Fills in GB/s (logarithmic; more is better)", caption)
    axes = figure.subplots(2, 2, sharex=True).ravel()
    for ax, job in zip(axes, shown):
        bars(ax, jobs[job], 1e9, log=True)
        ax.set_title(job, fontsize=9.5, loc="left", color=INK)
        ax.set_xlim(0.02, 200)
        plain_numbers(ax.xaxis)
    for ax in axes[2:]:
        ax.set_xlabel("GB/s")
    return figure


def fresh(measured):
    """The same on fresh memory, where JAX and TensorFlow can be compared, too."""
    jobs = {job: held for job, held in measured.jobs("fills").items() if job.endswith("float32, fresh memory")}
    caption = measured.caption("fills", "New memory each time, so the kernel's handing out of pages is in all of them.")
    rows = max(map(len, jobs.values()))
    figure = figure_of(9, 0.38 * rows + 0.9, "Fills of fresh memory in GB/s (logarithmic)", caption)
    shown = [job for job in jobs if job.startswith(("uniform", "normal", "truncated ±2"))]
    for ax, job in zip(figure.subplots(1, len(shown), sharex=True), shown):
        bars(ax, jobs[job], 1e9, log=True)
        ax.set_title(job.partition(" float32")[0], fontsize=9.5, loc="left", color=INK)
        ax.set_xlim(0.02, 200)
        plain_numbers(ax.xaxis)
        ax.set_xlabel("GB/s")
    return figure


def curves(ax, lines, scale):
    """name -> [(x, entry)] as lines that stay apart in grey."""
    ours_first = sorted(lines.items(), key=lambda line: line[0] not in ("fastinit", "normal"))
    for (name, points), style in zip(ours_first, STYLES):
        points = sorted(points, key=lambda point: point[0])
        x = [x for x, _ in points]
        y = [entry["rate"] / scale for _, entry in points]
        ax.fill_between(
            x,
            [e["low"] / scale for _, e in points],
            [e["high"] / scale for _, e in points],
            alpha=0.15,
            linewidth=0,
            color=style["color"],
        )
        ax.plot(x, y, label=name, linewidth=1.8, markersize=5, **style)
    ax.grid(alpha=0.25)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def logarithmic(ax, ticks, x_label, y_label):
    """Both axes, with those ticks (position -> text) and the curves' names."""
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(list(ticks), list(ticks.values()))
    plain_numbers(ax.yaxis)
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    ax.legend(frameon=False, fontsize=9)


def sizes(measured):
    """By size, against NumPy and the ceiling."""
    lines = {}
    for job, contestants in measured.jobs("sizes").items():
        found = re.fullmatch(r"(\d+) elements", job)
        for name, entry in contestants.items() if found else ():
            if int(found[1]) <= 1 << 24 or name != "NumPy SFC64":  # it fills no more than that
                lines.setdefault(name, []).append((4 * int(found[1]), entry))
    figure = figure_of(8, 3.6, "float32 normals by size", measured.caption("sizes", "Warm; bands are quartiles."))
    ax = figure.subplots()
    curves(ax, lines, 1e9)
    ticks = {64: "64 B", 1 << 10: "1 KiB", 1 << 15: "32 KiB", 1 << 20: "1 MiB", 1 << 25: "32 MiB", 1 << 30: "1 GiB"}
    logarithmic(ax, ticks, "size of the output", "GB/s")
    return figure


def threads(measured):
    """By number of threads: in memory, and where memory is no limit."""
    places = {"": {}, " in cache": {}}
    for job, contestants in measured.jobs("threads").items():
        kind, place, count = re.fullmatch(r"(\w+)( in cache)?, (\d+) threads?", job).groups()
        lines = places[place or ""]
        lines.setdefault(kind.replace("_", " "), []).append((int(count), contestants["fastinit"]))
        if "constant fill" in contestants and place:  # in memory it is a job of its own
            constant = dict(lines.setdefault("constant", []))
            constant.setdefault(int(count), contestants["constant fill"])
            lines["constant"] = list(constant.items())
    caption = measured.caption("threads", "1 GiB of float32 in memory, and 4 MiB over and over in the cache.")
    figure = figure_of(8, 3.3, "Scaling by threads", caption)
    for ax, (place, lines) in zip(figure.subplots(1, 2), places.items()):
        curves(ax, dict(sorted(lines.items())), 1e9)
        ax.set_title("in the cache" if place else "in memory", fontsize=9.5, loc="left", color=INK)
        ax.set_xticks(sorted({x for points in lines.values() for x, _ in points}))
        ax.set_ylim(bottom=0)
        ax.set_xlabel("threads")
        ax.set_ylabel("GB/s")
    ax.legend(frameon=False, fontsize=8.5)
    return figure


def orthogonal(measured):
    """GFLOP/s by n, against the peers and the product."""
    lines = {}
    for job, contestants in measured.jobs("orthogonal").items():
        found = re.fullmatch(r"(product of )?(\d+) x (\d+)", job)
        if not found or found[2] != found[3]:
            continue
        for name, entry in contestants.items():
            if not found[1]:
                lines.setdefault(name, []).append((int(found[2]), entry))
            elif name == "fastinit":
                lines.setdefault("our product alone", []).append((int(found[2]), entry))
    caption = measured.caption("orthogonal", "Needed operations, 4/3 n^3 (a product: 2 n^3), over the time taken.")
    figure = figure_of(8, 3.6, "Orthogonal float32 matrices, n x n", caption)
    ax = figure.subplots()
    curves(ax, lines, 1e9)
    every = sorted({x for points in lines.values() for x, _ in points})
    logarithmic(ax, {n: str(n) for n in every}, "n", "GFLOP/s")
    return figure


def construction(measured):
    """What building a model costs, in seconds."""
    jobs = measured.jobs("construction")
    caption = measured.caption("construction", "Fresh memory; constant fill: the same hook with constants.")
    figure = figure_of(9, 0.5 * 3 + 0.8, "Building a model in torch, seconds (less is better)", caption)
    for ax, (job, contestants) in zip(figure.subplots(1, len(jobs), squeeze=False)[0], jobs.items()):
        work = contestants["fastinit"]["work"]
        seconds = {
            name: {"rate": work / e["rate"], "low": work / e["high"], "high": work / e["low"]}
            for name, e in contestants.items()
        }
        bars(ax, seconds, 1, log=False)
        ax.set_title(job, fontsize=9, loc="left", color=INK)
        ax.set_xlim(0, 1.2 * max(e["high"] for e in seconds.values()))
        ax.set_xlabel("s")
    return figure


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("name", nargs="?", default=None, help="of a file in benchmarks/results")
    arguments.add_argument("-o", "--output", type=Path, default=PICTURES, help="a folder (default: docs/pictures)")
    given = arguments.parse_args()
    measured = Measured(given.name or newest())
    for draw in (throughput, fresh, sizes, threads, orthogonal, construction):
        if measured.jobs("fills" if draw in (throughput, fresh) else draw.__name__):
            with rc_context({"svg.hashsalt": "fastinit"}):  # the same file each time
                text = io.StringIO()
                draw(measured).savefig(text, format="svg", metadata={"Date": None, "Creator": None})
            if not QUICK:  # which only shows that all can be drawn
                (given.output / f"{draw.__name__}.svg").write_text(text.getvalue())
                print(given.output / f"{draw.__name__}.svg")


if __name__ == "__main__":
    main()
