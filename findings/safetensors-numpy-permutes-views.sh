#!/usr/bin/env bash
# safetensors 0.8.0 with numpy 2.4.6: an array that is not C-contiguous is written with other numbers, silently.
#
# Seen: w of [[0, 1, 2], [3, 4, 5]]: w.T comes back as [[0, 1], [2, 3], [4, 5]], its numbers permuted under the right
# shape, and w[:, ::2] as [[0, 1], [2, 3]], with numbers that were never in it. No exception, no warning. A weight kept
# transposed, or a slice of one, is therefore lost by safetensors.numpy.save, and by save_file.
# Why: the bytes are taken from the start of the memory, as many as the shape needs, whatever the strides say.
# numpy.ascontiguousarray before it helps.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
cat > "$folder/write.py" <<'PYTHON'
import warnings

import numpy as np
from safetensors.numpy import load, load_file, save, save_file

warnings.simplefilter("error")
w = np.arange(6, dtype=np.float32).reshape(2, 3)
for name, view in (("w.T", w.T), ("w[:, ::2]", w[:, ::2])):
    back = load(save({"w": view}))["w"]
    save_file({"w": view}, "view.safetensors")
    assert np.array_equal(load_file("view.safetensors")["w"], back)
    assert np.array_equal(load(save({"w": np.ascontiguousarray(view)}))["w"], view)
    print(f"{name} is {view.tolist()}, comes back as {back.tolist()}")
PYTHON
seen=$(cd "$folder" && venv/bin/python write.py)
echo "$seen"
[[ $seen == "w.T is [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]], comes back as [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
w[:, ::2] is [[0.0, 2.0], [3.0, 5.0]], comes back as [[0.0, 1.0], [2.0, 3.0]]" ]]
