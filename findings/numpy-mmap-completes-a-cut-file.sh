#!/usr/bin/env bash
# numpy 2.4.6: np.load(mmap_mode="r+") completes a file that was cut short with zeros, on the disk, and says nothing.
#
# Seen: an array of 1,000 ones, of whose file the second half is missing, as a copy leaves it that was broken off. Read
# plainly or with mmap_mode="r" it is refused. Opened with "r+" it has all its 1,000 numbers, the last 500 of them 0,
# though nothing was written to it; and from then on the file passes with every reader, its damage is hidden for good.
# Why: np.memmap makes a file that is too short as long as it needs it, for "r+" as for "w+"; np.load hands the mode on.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6
cat > "$folder/cut.py" <<'PYTHON'
import os
import warnings

import numpy as np

warnings.simplefilter("error")
np.save("w.npy", np.ones(1000))
whole = os.path.getsize("w.npy")
os.truncate("w.npy", whole - 4000)
for mode in (None, "r", "r+", None, "r"):
    try:
        print(mode, f"sum {np.load('w.npy', mmap_mode=mode).sum():g}", end="; ")
    except ValueError:
        print(mode, "refused", end="; ")
    print(f"missing bytes {whole - os.path.getsize('w.npy')}")
PYTHON
seen=$(cd "$folder" && venv/bin/python cut.py)
echo "$seen"
[[ $seen == "None refused; missing bytes 4000
r refused; missing bytes 4000
r+ sum 500; missing bytes 0
None sum 500; missing bytes 0
r sum 500; missing bytes 0" ]]
