#!/usr/bin/env bash
# torch 2.13.0: set_flush_denormal(True) holds for one thread: with two, half of a large tensor is flushed, half is not.
#
# Seen: four million numbers of 1e-39, times 1, after torch.set_flush_denormal(True) returned True: with two threads
# that have worked before, half of the results are 0; with one thread all are. So the same program gives other bits on
# another number of threads. Its documentation speaks of the CPU, and of no thread.
# Why: the mode is a register of each thread's own, and only that of the caller is set; the threads of the pool keep
# theirs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > "$folder/flush.py" <<'PYTHON'
import torch

torch.set_num_threads(2)
small = torch.full((4_000_000,), 1e-39)
assert (small * 1 > 0).all()
assert torch.set_flush_denormal(True)
for threads in (2, 1):
    torch.set_num_threads(threads)
    print(f"{threads} threads: {(small * 1 == 0).float().mean().item():g} flushed")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/flush.py")
echo "$seen"
[[ $seen == "2 threads: 0.5 flushed
1 threads: 1 flushed" ]]
