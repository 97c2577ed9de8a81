#!/usr/bin/env bash
# tqdm 4.70.1: the first progress bar fixes multiprocessing's start method for the whole program.
#
# Seen: after one bar of any kind, multiprocessing.set_start_method raises RuntimeError ("context has already been
# set"), though the program has made no process. With a lock of threads set before by tqdm.set_lock, it does not. Why: a
# bar's default lock is a multiprocessing lock, for processes that print side by side, and making one settles the context.
# So a library that shows a bar decides for its user how processes start. A bar with a lock of its own does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check tqdm==4.70.1
cat > "$folder/bar.py" <<'PYTHON'
import multiprocessing
import sys
import threading

from tqdm import tqdm

if "own" in sys.argv:
    tqdm.set_lock(threading.RLock())
list(tqdm(range(3), file=sys.stderr))
try:
    multiprocessing.set_start_method("spawn")
    print("free")
except RuntimeError as error:
    print(error)
PYTHON
seen=$("$folder/venv/bin/python" "$folder/bar.py" 2>/dev/null; "$folder/venv/bin/python" "$folder/bar.py" own 2>/dev/null)
echo "$seen"
[ "$seen" = "context has already been set
free" ]
