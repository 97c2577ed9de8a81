#!/usr/bin/env bash
# torch 2.13.0: the gradient of l1_loss at NaN is 0, where mse_loss, huber_loss and smooth_l1_loss give NaN.
#
# Seen: an output that is NaN makes the loss NaN, and sends the gradient 0 back: the weights of a net that fails in a
# few rows look as if they were trained on, and a check of gradients for NaN finds none.
# Why: abs sends sign(d) back, and the sign of NaN is 0 there. smooth_l1_loss with beta=0 is l1_loss, and does the
# same.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > "$folder/l1.py" <<'PYTHON'
import torch
from torch.nn import functional

for name in ("l1_loss", "mse_loss", "huber_loss", "smooth_l1_loss"):
    z = torch.tensor([float("nan")], requires_grad=True)
    getattr(functional, name)(z, torch.zeros(1)).backward()
    print(f"{name} {z.grad.item():g}", end="; ")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/l1.py")
echo "$seen"
[[ $seen == "l1_loss 0; mse_loss nan; huber_loss nan; smooth_l1_loss nan; " ]]
