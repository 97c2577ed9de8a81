#!/usr/bin/env bash
# lightgbm 4.7.0: a file data.csv.bin that lies beside data.csv is read in its place, however old it is.
#
# Seen: a Dataset of a CSV file of 2,000 rows is kept by save_binary as data.csv.bin. Then data.csv is replaced by 500
# other rows: the Dataset of data.csv has the 2,000 old rows and labels. With the .bin removed it has the 500. The one
# trace is a line of information, which verbosity=0 turns off.
# Why: LightGBM looks for NAME.bin before it opens NAME, and compares neither dates nor sizes. A resumed training, or
# one on new data in the same folder, trains on what was there before.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check lightgbm==4.7.0 numpy==2.4.6
cat > "$folder/beside.py" <<'PYTHON'
import os

import lightgbm
import numpy as np


def dataset():
    return lightgbm.Dataset("data.csv", params={"verbosity": 0}).construct()


rng = np.random.default_rng(0)
np.savetxt("data.csv", np.hstack([np.zeros((2000, 1)), rng.normal(size=(2000, 5))]), delimiter=",")
dataset().save_binary("data.csv.bin")
os.utime("data.csv.bin", (0, 0))
np.savetxt("data.csv", np.hstack([np.ones((500, 1)), rng.normal(size=(500, 5))]), delimiter=",")
for name in ("with", "without"):
    data = dataset()
    print(f"{name}: {data.num_data()} rows, labels {set(data.get_label().tolist())}")
    os.path.exists("data.csv.bin") and os.remove("data.csv.bin")
PYTHON
seen=$(cd "$folder" && venv/bin/python beside.py)
echo "$seen"
[[ $seen == "with: 2000 rows, labels {0.0}
without: 500 rows, labels {1.0}" ]]
