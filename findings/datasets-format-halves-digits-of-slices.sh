#!/usr/bin/env bash
# datasets 5.2.0: with_format("numpy") gives float64 numbers as such for a row, and as float32 for a slice of rows.
#
# Seen: a column of float64 seconds. data[0] is exact, in data[:2] and in iter(batch_size=2) times that are a second
# apart are one number, off by up to 64 seconds. Whole numbers stay exact, but float32 replaces them where one of the
# slice is missing: 16777217 is 16777216 beside a None. In a slice numbers of uint64, such as hashes, of 2**63 and more
# are below 0. data.features says float64, int64, uint64 throughout. Nobody is told.
# with_format("numpy", dtype=np.float64) or with_format("arrow") keeps the digits of the seconds.
# Why: arrays are cast to float32 and int64 if no dtype is given; a single number is not taken for an array.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export HF_HOME=$folder HF_HUB_OFFLINE=1
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  datasets==5.2.0 pyarrow==26.0.1 numpy==2.4.6
cat > "$folder/digits.py" <<'PYTHON'
import numpy as np
from datasets import Dataset

data = Dataset.from_dict({
    "seconds": [1700000001.0, 1700000002.0, 1700000099.0],
    "number": [16777217, 16777219, None],
    "hash": np.array([2**63 + 5, 7, 8], np.uint64),
})
made = data.with_format("numpy")
for name in data.features:
    print(name, data.features[name].dtype)
    for what, value in (
        ("row", made[0][name]),
        ("slice", made[:2][name]),
        ("batch", next(made.iter(batch_size=2))[name]),
        ("all", made[:][name]),
    ):
        print(f"  {what} {value.dtype} {value.tolist()}")
print("dtype", data.with_format("numpy", dtype=np.float64)[:2]["seconds"].tolist())
print("arrow", data.with_format("arrow")[:2]["seconds"].to_numpy().tolist())
PYTHON
seen=$("$folder/venv/bin/python" "$folder/digits.py")
echo "$seen"
[[ $seen == "seconds float64
  row float64 1700000001.0
  slice float32 [1700000000.0, 1700000000.0]
  batch float32 [1700000000.0, 1700000000.0]
  all float32 [1700000000.0, 1700000000.0, 1700000128.0]
number int64
  row int64 16777217
  slice int64 [16777217, 16777219]
  batch int64 [16777217, 16777219]
  all float32 [16777216.0, 16777220.0, nan]
hash uint64
  row uint64 9223372036854775813
  slice int64 [-9223372036854775803, 7]
  batch int64 [-9223372036854775803, 7]
  all int64 [-9223372036854775803, 7, 8]
dtype [1700000001.0, 1700000002.0]
arrow [1700000001.0, 1700000002.0]" ]]
