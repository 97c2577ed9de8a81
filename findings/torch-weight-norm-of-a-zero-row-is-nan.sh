#!/usr/bin/env bash
# torch 2.13.0: weight_norm makes NaN of a neuron whose weights are 0, so a last layer that begins at 0 is lost.
#
# Seen: the weights of Linear(4, 3) are 0 but for one row; under torch.nn.utils.parametrizations.weight_norm the other
# two rows are NaN at once, before any step, and so is every output of theirs. The older weight_norm does the same.
# Layers that begin at 0, as the last of a residual branch, and neurons that pruning has set to 0, are such rows.
# Why: w = g v / |v| with g = |v| is 0 times 0 / 0. With g = 0 and any v that is not 0 it would be 0, as it was.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > "$folder/norm.py" <<'PYTHON'
import warnings

import torch
from torch import nn

warnings.simplefilter("ignore")  # the older one is deprecated
for norm in (nn.utils.parametrizations.weight_norm, nn.utils.weight_norm):
    layer = nn.Linear(4, 3)
    nn.init.zeros_(layer.weight)
    nn.init.ones_(layer.weight[1])
    layer = norm(layer)
    y = layer(torch.ones(1, 4))
    print(layer.weight.isnan().all(dim=1).tolist(), y.isnan().tolist(), end="; ")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/norm.py")
echo "$seen"
[[ $seen == "[True, False, True] [[True, False, True]]; [True, False, True] [[True, False, True]]; " ]]
