#!/usr/bin/env bash
# torch 2.13.0: binary_cross_entropy_with_logits loses all digits of a sure and right answer, and is NaN for infinity.
#
# Seen: the logit -20 and the label 0 lose 0 in float32, where log(1 + e^-20) = 2.06e-9 is due, the logit 20 and the
# label 1 lose it: mean losses of rare labels are too small. The logit minus infinity and the label 0, as a mask
# leaves it, is NaN where 0 is due; optax and Keras give NaN there too.
# Why: (1 - t) z + log(1 + e^-|z|) + max(-z, 0) takes a number of the size of z away from another; of infinities NaN
# is left. t softplus(-z) + (1 - t) softplus(z) has neither fault, where a part whose factor is 0 is left out.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > "$folder/bce.py" <<'PYTHON'
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as loss

for z, t in ((-20.0, 0.0), (20.0, 1.0), (-float("inf"), 0.0)):
    print(f"{loss(torch.tensor(z), torch.tensor(t)):.3g}", end="; ")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/bce.py")
echo "$seen"
[[ $seen == "0; 2.06e-09; nan; " ]]
