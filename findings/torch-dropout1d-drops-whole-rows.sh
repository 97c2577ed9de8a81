#!/usr/bin/env bash
# torch 2.13.0: Dropout1d behind a Linear layer drops whole rows of the batch; BatchNorm1d there works by columns.
#
# Seen: of a thousand rows (N, C) of ones, Dropout1d(0.5) makes about half all 0 and doubles the others; none is mixed.
# Half of the batch says nothing of the layers before, and no warning comes.
# Why: two axes are (C, L), one row without a batch, and a channel is dropped as a whole. BatchNorm1d takes the same two
# axes as (N, C). Dropout is the layer for (N, C).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > "$folder/dropout.py" <<'PYTHON'
import warnings

import torch

warnings.simplefilter("error")
torch.manual_seed(0)
for kind in (torch.nn.Dropout1d, torch.nn.Dropout):
    y = kind(0.5)(torch.ones(1000, 32))
    zeros = (y == 0).float().mean(dim=1)
    print(400 < (zeros == 1).sum() < 600, bool(((zeros > 0) & (zeros < 1)).all()), end="; ")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/dropout.py")
echo "$seen"
[[ $seen == "tensor(True) False; tensor(False) True; " ]]
