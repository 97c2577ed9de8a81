#!/usr/bin/env bash
# numpy 2.4.6 with ml_dtypes 0.6.0: np.save writes a float8_e5m2 that np.load refuses, and other small floats as bytes.
#
# Seen: 1 and 2 as float8_e5m2 are written without a word; np.load then says "descr is not a valid dtype descriptor",
# and so it does with np.savez, so that a checkpoint cannot be read back by plain NumPy. bfloat16, float8_e4m3fn and
# int4 come back as V2 and V1, bytes without a meaning: the name of the type is nowhere in the file, and those of
# one byte cannot be told apart. JAX's bfloat16 and float8 arrays are these types.
# Why: the format names a type by its kind and size, "<f1", "<V2", and float8_e5m2 is the one of them of kind f.
# array.view(np.uint8), with the type's name kept beside it, comes through.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 ml_dtypes==0.6.0
cat > "$folder/small.py" <<'PYTHON'
import io
import warnings

import ml_dtypes
import numpy as np

warnings.simplefilter("error")
for name in ("bfloat16", "float8_e4m3fn", "int4", "float8_e5m2"):
    array, file = np.array([1, 2], getattr(ml_dtypes, name)), io.BytesIO()
    np.savez(file, w=array)
    file.seek(0)
    try:
        print(name, np.load(file)["w"].dtype, end="; ")
    except ValueError as error:
        print(name, error)
    assert np.array_equal(array.view(np.uint8).view(array.dtype), array)
PYTHON
seen=$("$folder/venv/bin/python" "$folder/small.py")
echo "$seen"
[[ $seen == "bfloat16 |V2; float8_e4m3fn |V1; int4 |V1; float8_e5m2 descr is not a valid dtype descriptor: '<f1'" ]]
