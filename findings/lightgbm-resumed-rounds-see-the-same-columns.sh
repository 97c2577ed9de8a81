#!/usr/bin/env bash
# lightgbm 4.7.0: training that goes on with init_model begins its random choices anew, also in the columns it sees.
#
# Seen: ten columns that all count, feature_fraction 0.3, a fixed seed. 50 rounds in one call use all ten; 50 calls of
# one round, each going on from the model before, use the same three in all of them, and end with an error 10 times as
# large. With bagging_fraction 0.1 they train on the same tenth of the rows, and end with twice the error. A training
# that is saved and resumed often, or fed in pieces, therefore never sees most of its data. No warning.
# Why: the generators of columns and rows are made from the seed in each call, and a model does not hold their state.
# Another seed in each call helps; the bits of one long call are not to be had.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check lightgbm==4.7.0 numpy==2.4.6
cat > "$folder/rounds.py" <<'PYTHON'
import lightgbm
import numpy as np

rng = np.random.default_rng(0)
x = rng.normal(size=(2000, 10))
y = x @ np.arange(1.0, 11.0) + rng.normal(size=2000)
base = {"objective": "regression", "verbosity": -1, "num_threads": 1, "seed": 1, "deterministic": True}
for name, own in (
    ("columns", {"feature_fraction": 0.3}),
    ("rows", {"bagging_fraction": 0.1, "bagging_freq": 1}),
):
    whole = lightgbm.train(base | own, lightgbm.Dataset(x, y), 50)
    parts = None
    for _ in range(50):
        parts = lightgbm.train(base | own, lightgbm.Dataset(x, y), 1, init_model=parts)
    used = [int((model.feature_importance() > 0).sum()) for model in (whole, parts)]
    whole, parts = (float(np.square(model.predict(x) - y).mean()) for model in (whole, parts))
    print(f"{name}: columns used {used[0]} and {used[1]}, error more than {parts / whole // 1:.0f} times as large")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/rounds.py")
echo "$seen"
[[ $seen == "columns: columns used 10 and 3, error more than 10 times as large
rows: columns used 10 and 10, error more than 2 times as large" ]]
