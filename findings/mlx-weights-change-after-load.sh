#!/usr/bin/env bash
# mlx 0.32.4 (its CPU build): weights that were loaded from a file change when the file is written anew.
#
# Seen: best = mx.load("w.safetensors"), all ones; then sevens are saved under that name, as the next checkpoint of a
# training is: best is now sevens. So it is with .npy, while .npz keeps its ones, as a .safetensors does that was
# removed before the new one was written, or whose arrays were evaluated. No error, no warning.
# Why: arrays are lazy, those of a file too: the file is open, and it is read when a number is first asked for.
# mx.eval right after mx.load helps.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check mlx==0.32.4 mlx-cpu==0.32.4
cat > "$folder/lazy.py" <<'PYTHON'
import os

import mlx.core as mx


def save(file, number):
    array = mx.full((1000,), number)
    if file.endswith(".npy"):
        mx.save(file, array)
    elif file.endswith(".npz"):
        mx.savez(file, w=array)
    else:
        mx.save_safetensors(file, {"w": array})


for file, then in (
    ("w.safetensors", None),
    ("w.npy", None),
    ("w.npz", None),
    ("w.safetensors", mx.eval),
    ("w.safetensors", lambda best: os.remove("w.safetensors")),
):
    save(file, 1.0)
    best = mx.load(file)
    if then:
        then(best)
    save(file, 7.0)
    best = best if file.endswith("npy") else best["w"]
    print(f"{file} {best.mean().item():g}", end="; ")
PYTHON
seen=$(cd "$folder" && venv/bin/python lazy.py)
echo "$seen"
[[ $seen == "w.safetensors 7; w.npy 7; w.npz 1; w.safetensors 1; w.safetensors 1; " ]]
