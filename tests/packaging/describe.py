"""How large a wheel is, which platforms it is for, and what its extension needs from the system: describe.py WHEEL"""

import re
import sys
import zipfile
from pathlib import Path

wheel = Path(sys.argv[1])
print(f"{wheel.name}: {wheel.stat().st_size / 1024:.0f} KiB")
with zipfile.ZipFile(wheel) as file:
    newest = (0, 0)
    for info in file.infolist():
        if ".so" in info.filename:
            print(f"  {info.filename}: {info.file_size / 1024:.0f} KiB")
            needed = re.findall(rb"GLIBC_(\d+)\.(\d+)", file.read(info))
            newest = max([newest, *((int(major), int(minor)) for major, minor in needed)])
print(f"  needs glibc {newest[0]}.{newest[1]}" if newest > (0, 0) else "  names no version of glibc")
