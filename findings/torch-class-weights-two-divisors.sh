#!/usr/bin/env bash
# torch 2.13.0: cross_entropy with class weights has two divisors, one for labels and one for probabilities.
#
# Seen: the same two rows, the same weights: the labels 0 and 1 lose 0.4735, the same labels as one-hot probabilities
# 0.9469, and the gradient differs by the same factor, here 2. Mixup, label smoothing by hand or soft targets therefore
# change the learning rate as well, by the mean weight of the labels, which is another one in every batch.
# Why: reduction="mean" divides by the sum of the labels' weights where targets are class numbers, and by the number of
# rows where they are probabilities.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > "$folder/weights.py" <<'PYTHON'
import torch
from torch.nn.functional import cross_entropy, one_hot

labels, weight = torch.tensor([0, 1]), torch.tensor([1.0, 3.0, 5.0])
results = []
for targets in (labels, one_hot(labels, 3).float()):
    z = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], requires_grad=True)
    loss = cross_entropy(z, targets, weight=weight)
    loss.backward()
    results.append((loss.item(), z.grad))
(a, da), (b, db) = results
print(f"labels {a:.4f}, one-hot {b:.4f}, gradients differ by {float((db / da).mean()):.4f}")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/weights.py")
echo "$seen"
[[ $seen == "labels 0.4735, one-hot 0.9469, gradients differ by 2.0000" ]]
