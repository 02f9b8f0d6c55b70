"""Medians and spreads of one run, as a table to read and as a file to keep and to draw from.

Contestants of a job take turns, so each turn gives one ratio; a job's ratio is the median of its turns', and the
spread is the least and the largest of them. Absolute rates of a shared machine drift; ratios of one turn do less.
"""

import json
import statistics
from datetime import UTC, datetime
from pathlib import Path

import machine
from floors import FLOORS
from scale import FULL, QUICK

FOLDER = Path(__file__).parent / "results"


class Results:
    """subject -> job -> contestant -> the times of each of its turns."""

    def __init__(self):
        self.subjects = {}

    def add(self, subject, job, contestant, lap, seconds, work, unit):
        held = self.subjects.setdefault(subject, {}).setdefault(job, {})
        mine = held.setdefault(contestant, {"work": work, "unit": unit, "laps": {}})
        mine["laps"].setdefault(lap, []).extend(seconds)

    def lines(self):
        """A table a subject."""
        if QUICK:
            yield "QUICK: every benchmark ran once, on little; these figures mean nothing"
        for subject, jobs in self.subjects.items():
            yield ""
            yield f"{subject}: speed, ours over the contestant's, and the least and largest of all turns"
            yield f"{'job':<40}{'contestant':<34}{'ratio':>8}   {'spread':<16}{'floor':>6}{'aim':>6}"
            for job, contestants in jobs.items():
                first, *others = contestants
                if not others:
                    rate, unit = figures(contestants[first])["rate"], contestants[first]["unit"]
                    yield f"{job:<40}{first:<34}{rate:>8.3g} {unit}/s"
                for name in others:
                    middle, low, high = ratios(contestants[first], contestants[name])
                    floor, aim = FLOORS.get((subject, job, name), (None, None))
                    missed = "" if floor is None or middle >= floor or QUICK else "  MISSED"
                    spread = f"{low:.3g} to {high:.3g}"
                    yield f"{job:<40}{name:<34}{middle:>8.3g}   {spread:<16}{floor or '':>6}{aim or '':>6}{missed}"

    def write(self):
        """Into this CPU's file. Subjects that did not run now keep what they had."""
        path = FOLDER / f"{machine.file_name()}.json"
        kept = json.loads(path.read_text()) if path.exists() else {"subjects": {}}
        measured = {
            "commit": machine.commit(),
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "by": "make bench-full" if FULL else "make bench",
        }
        for subject, jobs in self.subjects.items():
            kept["subjects"][subject] = measured | {"jobs": {job: dict(summary(jobs[job])) for job in jobs}}
        kept = {"machine": machine.describe(), "subjects": dict(sorted(kept["subjects"].items()))}
        FOLDER.mkdir(exist_ok=True)
        path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
        return path


def figures(contestant):
    """The median rate with its quartiles, in work a second."""
    seconds = [s for lap in contestant["laps"].values() for s in lap]
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else seconds * 3
    work = contestant["work"]
    return {"rate": work / middle, "low": work / high, "high": work / low, "runs": len(seconds), "work": work}


def ratios(ours, theirs):
    """The median, the least and the largest ratio of speeds, over the turns that both had."""
    found = [
        (ours["work"] / statistics.median(ours["laps"][lap]))
        / (theirs["work"] / statistics.median(theirs["laps"][lap]))
        for lap in ours["laps"].keys() & theirs["laps"].keys()
    ]
    return statistics.median(found), min(found), max(found)


def summary(contestants):
    first = next(iter(contestants))
    for name, contestant in contestants.items():
        entry = {key: round_to(value) for key, value in figures(contestant).items()} | {"unit": contestant["unit"]}
        if name != first:
            entry["ratio"] = [round_to(value) for value in ratios(contestants[first], contestant)]
        yield name, entry


def round_to(value, digits=4):
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value
