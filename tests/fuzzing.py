"""Runs every property test again and again, each time with fresh examples: python tests/fuzzing.py SECONDS

Stops at the first failure, with the example and the command that repeats it, or when the time is over.
"""

import itertools
import secrets
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTEST = [sys.executable, "-m", "pytest", "-q", "-m", "hypothesis"]


def property_tests():
    """Their names: hypothesis marks them."""
    listed = subprocess.run([*PYTEST, "--collect-only", "tests"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if "::" in line]


def main(seconds):
    end = time.monotonic() + seconds
    tests = property_tests()
    runs = 0
    for test in itertools.cycle(tests):
        if runs >= len(tests) and time.monotonic() > end:  # each of them once, whatever the time
            break
        # in CI, hypothesis would take the same examples each time
        command = [*PYTEST, test, "--hypothesis-profile=default", f"--hypothesis-seed={secrets.randbits(32)}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        runs += 1
        if done.returncode:
            print(done.stdout, done.stderr, "to repeat it: " + " ".join(command[1:]), sep="\n")
            return 1
        print(f"{test}: passed", flush=True)
    print(f"fuzz: {len(tests)} property tests, {runs} runs with fresh examples, no failure")
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
