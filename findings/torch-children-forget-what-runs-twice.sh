#!/usr/bin/env bash
# torch 2.13.0: Sequential(*model.children()) is another net where one ReLU stands at two places, and nobody is told.
#
# Seen: a Sequential of three Linear layers with the same ReLU object between them has 5 modules and 4 children: the
# second ReLU is gone, and so the copy gives other numbers. list(model.children())[:-1], by which features are taken in
# front of the last layer, are features without their ReLU, some of them below 0; model[:-1] has it.
# Why: children(), named_children() and modules() give each object once. A forward that runs an object twice, in a
# Sequential too, is not what they list. Who walks over a Sequential is to iterate over it: for layer in model.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > "$folder/children.py" <<'PYTHON'
import torch
from torch.nn import Linear, ReLU, Sequential

torch.manual_seed(0)
relu = ReLU()
model = Sequential(Linear(3, 3), relu, Linear(3, 3), relu, Linear(3, 2))
x = torch.randn(50, 3)
features = Sequential(*list(model.children())[:-1])
with torch.no_grad():
    print(
        len(model), len(list(model.children())),
        bool((model(x) == Sequential(*model)(x)).all()),
        bool((model(x) - Sequential(*model.children())(x)).abs().max() > 0.1),
        bool(model[:-1](x).min() < 0), bool(features(x).min() < 0),
    )
PYTHON
seen=$("$folder/venv/bin/python" "$folder/children.py")
echo "$seen"
[[ $seen == "5 4 True True False True" ]]
