#!/usr/bin/env bash
# zarr 3.1.6: of an array whose files were not all copied, the missing part is read as zeros, silently.
#
# Seen: four rows of ones, a chunk each. Without the file of the second row the sums are 1000, 0, 1000, 1000, and nobody
# says so; a copy that was broken off, or a writer that was killed, leaves such an array. A file that is there but cut
# short is an error. Nor can one tell by looking: a chunk of nothing but zeros is not written either, by default.
# Why: a chunk without a file has the fill value, says the format, and that is 0 if none is given.
# With fill_value=nan what is missing at least shows.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check zarr==3.1.6 numpy==2.4.6
cat > "$folder/chunks.py" <<'PYTHON'
import os
import warnings

import numpy as np
import zarr

warnings.simplefilter("error")
for name, options in (("default", {}), ("nan", {"fill_value": float("nan")})):
    array = zarr.create_array(name, shape=(4, 1000), chunks=(1, 1000), dtype="float32", **options)
    array[:] = np.ones((4, 1000))
    os.remove(f"{name}/c/1/0")
    print(name, zarr.open(name, mode="r")[:].sum(axis=1).tolist())
os.truncate("default/c/2/0", os.path.getsize("default/c/2/0") // 2)
try:
    zarr.open("default", mode="r")[:]
except RuntimeError:
    print("cut short: refused")
array = zarr.create_array("zeros", shape=(4, 1000), chunks=(1, 1000), dtype="float32")
array[:] = 0
print("files of zeros", os.path.exists("zeros/c"))
PYTHON
seen=$(cd "$folder" && venv/bin/python chunks.py)
echo "$seen"
[[ $seen == "default [1000.0, 0.0, 1000.0, 1000.0]
nan [1000.0, nan, 1000.0, 1000.0]
cut short: refused
files of zeros False" ]]
