#!/usr/bin/env bash
# skorch 1.4.0 with torch 2.13.0: with StepLR, several calls of partial_fit end with a smaller rate than one.
#
# Seen: a tenth every two epochs, from 1: eight epochs in one call end at 0.001; in two calls of four at 0.0001, in
# eight calls of one at 0.000001. In calls of five and three it is 0.001 again, and ExponentialLR and
# CosineAnnealingLR are right in all of them. So a training that is resumed, or watched between calls, has almost no
# rate left, if a call begins where the rate falls.
# Why: skorch makes the schedule anew in each call with last_epoch= the epochs made; StepLR then takes its first step
# once more, from a rate that has had it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check skorch==1.4.0 torch==2.13.0 numpy==2.4.6
cat > "$folder/parts.py" <<'PYTHON'
import numpy as np
import torch
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback, LRScheduler
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, StepLR


class Rates(Callback):
    def on_epoch_begin(self, net, **_):
        rates.append(net.optimizer_.param_groups[0]["lr"])


x = np.zeros((8, 1), np.float32)
for policy, options in (
    (StepLR, {"step_size": 2, "gamma": 0.1}),
    (ExponentialLR, {"gamma": 0.5}),
    (CosineAnnealingLR, {"T_max": 10}),
):
    print(policy.__name__, end="")
    for parts in ((8,), (4, 4), (1,) * 8, (5, 3)):
        rates = []
        callbacks = [LRScheduler(policy, **options), Rates()]
        net = NeuralNetRegressor(torch.nn.Linear(1, 1), lr=1.0, verbose=0, train_split=None, callbacks=callbacks)
        net.initialize()
        for epochs in parts:
            net.partial_fit(x, x, epochs=epochs)
        print(f", {len(parts)} calls {rates[-1]:.3g}", end="")
    print()
PYTHON
seen=$("$folder/venv/bin/python" "$folder/parts.py" 2>/dev/null)
echo "$seen"
[[ $seen == "StepLR, 1 calls 0.001, 2 calls 0.0001, 8 calls 1e-06, 2 calls 0.001
ExponentialLR, 1 calls 0.00781, 2 calls 0.00781, 8 calls 0.00781, 2 calls 0.00781
CosineAnnealingLR, 1 calls 0.206, 2 calls 0.206, 8 calls 0.206, 2 calls 0.206" ]]
