"""How long importing fastinit takes beyond NumPy: median of eleven fresh processes. Printed, not judged."""

import statistics
import subprocess
import sys

CODE = """
import time
import numpy
start = time.perf_counter()
import fastinit
print(time.perf_counter() - start)
"""
times = [float(subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=True).stdout) for _ in range(11)]
print(f"import: {1000 * statistics.median(times):.0f} ms beyond NumPy's (aim: at most 60)")
