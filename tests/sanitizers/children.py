"""A plugin of pytest: programs that the tests start look for no leaks, the tests' own process does.

The leak checker stops all threads of a process at its end. Where one is just being made, it fails, and ends the program
with an exit code that the test does not expect.
"""

import os

os.environ["ASAN_OPTIONS"] += ":detect_leaks=0"
