#!/usr/bin/env bash
# flax 0.12.8: serialization.from_bytes gives weights of another shape and type than the target's, without a word.
#
# Seen: the target has a float32 weight of (3, 4) and a whole number of steps; the bytes hold float16 weights of (5, 6)
# and 2.5 steps. What comes back has the (5, 6), the float16 and the 2.5. So a checkpoint of a net of
# another width is loaded, and fails far away in a product, or nowhere if the shapes broadcast. A name that is missing
# is refused.
# Why: the target gives the names and the containers; its leaves are thrown away and compared with nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2 flax==0.12.8 numpy==2.4.6
cat > "$folder/shapes.py" <<'PYTHON'
import warnings

import numpy as np
from flax import serialization

warnings.simplefilter("error")
target = {"weight": np.zeros((3, 4), np.float32), "steps": np.int32(0)}
written = serialization.to_bytes({"weight": np.ones((5, 6), np.float16), "steps": np.float32(2.5)})
back = serialization.from_bytes(target, written)
print(back["weight"].shape, back["weight"].dtype, back["steps"])
try:
    serialization.from_bytes(target, serialization.to_bytes({"weight": target["weight"]}))
except ValueError:
    print("a missing name: refused")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/shapes.py" 2>/dev/null)
echo "$seen"
[[ $seen == "(5, 6) float16 2.5
a missing name: refused" ]]
