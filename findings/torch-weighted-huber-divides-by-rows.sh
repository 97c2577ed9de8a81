#!/usr/bin/env bash
# torch 2.13.0: the weight of huber_loss is divided by the rows, that of mse_loss and l1_loss by the weights.
#
# Seen: the squared errors 1 and 4 of weights 1 and 3: mse_loss gives 3.25, and with all weights doubled 3.25 again.
# Half the squares by huber_loss, whose delta is far away, give 3.25 too where 1.625 is due, and 6.5 with weights
# doubled: the size of the weights is a factor of the learning rate there, and is none in the others.
# Why: with weight= and reduction="mean", mse_loss and l1_loss divide by the sum of the weights; huber_loss takes the
# mean.
# Here r = w / sum(w) for every loss, so that weights say how rows compare and nothing else.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > "$folder/huber.py" <<'PYTHON'
import torch
from torch.nn.functional import huber_loss, l1_loss, mse_loss

z, t, weight = torch.tensor([1.0, 2.0]), torch.zeros(2), torch.tensor([1.0, 3.0])
for loss in (mse_loss, l1_loss, lambda *a, weight: huber_loss(*a, delta=10.0, weight=weight)):
    print(f"{loss(z, t, weight=weight):g} {loss(z, t, weight=2 * weight):g}", end="; ")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/huber.py")
echo "$seen"
[[ $seen == "3.25 3.25; 1.75 1.75; 3.25 6.5; " ]]
