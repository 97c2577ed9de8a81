#!/usr/bin/env bash
# torch 2.13.0: Optimizer.load_state_dict keeps the tensors it is given, so that training on changes the snapshot.
#
# Seen: weights and Adam's state are copied after three steps, to go back there should the training diverge. Back the
# first time, five steps on, back a second time: the weights are those of step 3, Adam's moments and its count are those
# of step 8. Model.load_state_dict copies, the optimizer's does not, and no error or warning comes from either.
# Why: the dictionaries are copied, not the tensors in them, unless their type or device changes.
# load_state_dict(copy.deepcopy(snapshot)) helps, or a snapshot in a file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > "$folder/back.py" <<'PYTHON'
import copy
import warnings

import torch

warnings.simplefilter("error")
torch.manual_seed(0)
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
x = torch.randn(16, 2)


def steps(n):
    for _ in range(n):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


steps(3)
snapshot = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
kept = copy.deepcopy(snapshot)
for time in ("first", "second"):
    model.load_state_dict(snapshot[0])
    optimizer.load_state_dict(snapshot[1])
    state = optimizer.state[model.weight]
    weight = torch.equal(model.weight, kept[0]["weight"])
    moment = torch.equal(state["exp_avg"], kept[1]["state"][0]["exp_avg"])
    print(f"{time} time: weight as it was {weight}, moment {moment}, step {state['step']:g}")
    steps(5)
PYTHON
seen=$("$folder/venv/bin/python" "$folder/back.py")
echo "$seen"
[[ $seen == "first time: weight as it was True, moment True, step 3
second time: weight as it was True, moment False, step 8" ]]
