#!/usr/bin/env bash
# torch 2.13.0: a DataLoader that shuffles nothing draws from the global generator each time it is gone through.
#
# Seen: the same training, seed and rows, with dropout and without workers; one evaluation on an ordered DataLoader
# between its two steps gives other weights. So does whatever changes how often one evaluates: a training that is
# resumed and evaluates first, another interval, a progress bar that peeks. With a generator of its own for the
# DataLoader of the evaluation, or the same rows in a list of batches, the weights are the same to the last bit.
# Why: each iterator draws a seed for its workers when it is made, also if it has none.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > "$folder/loader.py" <<'PYTHON'
import torch
from torch.utils.data import DataLoader, TensorDataset

rows = TensorDataset(torch.arange(32.0).reshape(16, 2) / 32)


def train(evaluation):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.Dropout(), torch.nn.Linear(64, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(rows.tensors[0]).square().mean().backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            for (x,) in evaluation:
                model(x)
        model.train()
    return model[0].weight


none = train(())
for name, evaluation in (
    ("a list", [(rows.tensors[0],)]),
    ("DataLoader", DataLoader(rows, batch_size=4)),
    ("with its own generator", DataLoader(rows, batch_size=4, generator=torch.Generator())),
):
    print(f"{name}: {torch.equal(none, train(evaluation))}", end="; ")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/loader.py")
echo "$seen"
[[ $seen == "a list: True; DataLoader: False; with its own generator: True; " ]]
