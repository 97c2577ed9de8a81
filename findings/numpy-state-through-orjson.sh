#!/usr/bin/env bash
# numpy 2.4.6 with orjson 3.13.0: a generator's state, read from JSON, is rounded, is taken, and draws other numbers.
#
# Seen: the state of default_rng(0), written by json.dumps: read by json.loads it gives the generator's next number,
# 0.637; read by orjson.loads, often put in its place for speed, another one, without an error or warning from either.
# Why: the two whole numbers of PCG64 have 128 bits. orjson.loads makes floats of whole numbers above 64 bits (its own
# dumps refuses them), and the setter of bit_generator.state takes a float for an integer.
# Numbers that are written as text, or hexadecimal, come through both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 orjson==3.13.0
cat > "$folder/state.py" <<'PYTHON'
import json
import warnings

import numpy as np
import orjson

warnings.simplefilter("error")
rng = np.random.default_rng(0)
text = json.dumps(rng.bit_generator.state)
print(f"due {rng.random():.3f}")
for library in (json, orjson):
    state = library.loads(text)
    rng = np.random.default_rng()
    rng.bit_generator.state = state
    print(library.__name__, type(state["state"]["state"]).__name__, f"{rng.random():.3f}")
try:
    orjson.dumps(np.random.default_rng(0).bit_generator.state)
except TypeError as error:
    print(error)
PYTHON
seen=$("$folder/venv/bin/python" "$folder/state.py")
echo "$seen"
[[ $seen == "due 0.637
json int 0.637
orjson float 0.043
Integer exceeds 64-bit range" ]]
