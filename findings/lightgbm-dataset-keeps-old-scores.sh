#!/usr/bin/env bash
# lightgbm 4.7.0: a Dataset that was once used to go on from a model spoils the next training that begins anew.
#
# Seen: targets near 1,000 of variance 386. Five rounds from scratch leave a mean squared error of some 200. Then five
# more on the same Dataset with init_model, and then the first call once more, word for word: its error is some
# 350,000, and the mean of what it predicts 410, not 1,000. No error, no warning.
# Why: going on puts the old model's predictions into the Dataset as its init_score. The next call without init_model
# puts zeros there, not nothing, and with an init_score LightGBM does not begin at the mean of the targets.
# A new Dataset for each training helps. (It needs free_raw_data=False; without that the second call is refused.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check lightgbm==4.7.0 numpy==2.4.6
cat > "$folder/again.py" <<'PYTHON'
import warnings

import lightgbm
import numpy as np

warnings.simplefilter("error")
rng = np.random.default_rng(0)
x = rng.normal(size=(2000, 10))
y = x @ np.arange(1.0, 11.0) + rng.normal(size=2000) + 1000
options = {"objective": "regression", "verbosity": 0, "num_threads": 1, "force_col_wise": True}
data = lightgbm.Dataset(x, y, free_raw_data=False)
first = lightgbm.train(options, data, 5)
lightgbm.train(options, data, 5, init_model=first)
again = lightgbm.train(options, data, 5)
fresh = lightgbm.train(options, lightgbm.Dataset(x, y), 5)
for name, model in (("first", first), ("again", again), ("fresh", fresh)):
    out = model.predict(x)
    print(f"{name} error {np.square(out - y).mean():.3g}, mean {out.mean():.0f}")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/again.py")
echo "$seen"
[[ $seen == "first error 203, mean 1000
again error 3.49e+05, mean 410
fresh error 203, mean 1000" ]]
