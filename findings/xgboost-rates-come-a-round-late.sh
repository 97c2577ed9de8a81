#!/usr/bin/env bash
# xgboost 3.2.0: a schedule of learning rates takes effect one round late, and begins anew when a training goes on.
#
# Seen: LearningRateScheduler([0.5, 0.25, 0.125, 0.0625]) on data where a round of rate r leaves 1 - r of the error:
# the rounds take 0.3 (the default eta, or what eta says), 0.5, 0.25, 0.125; the last rate is never used, the first
# round always has eta. A warm-up that begins at 1e-6 begins at 0.3. Two rounds, and two more with xgb_model=, take 0.3,
# 0.5, then 0.25, which was set last, and 0.5 again. LightGBM 4.7.0's reset_parameter takes the list as it stands.
# Why: the callback sets the rate after a round, by the number of that round, and the number is one of the call.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  xgboost-cpu==3.2.0 lightgbm==4.7.0 numpy==2.4.6
cat > "$folder/rates.py" <<'PYTHON'
import lightgbm
import numpy as np
import xgboost

x, y = np.array([[0.0], [1.0]] * 50), np.array([0.0, 1.0] * 50)
data, rates = xgboost.DMatrix(x, y), [0.5, 0.25, 0.125, 0.0625]


def train(rounds, before=None, **own):
    options = {"base_score": 0.0, "reg_lambda": 0.0, "nthread": 1} | own
    callback = xgboost.callback.LearningRateScheduler(rates)
    return xgboost.train(options, data, rounds, xgb_model=before, callbacks=[callback])


def taken(after):
    """The rate of each round, from what it left of a target of 1."""
    left = [1.0] + [1 - float(after(k)) for k in range(1, 5)]
    return [round(1 - b / a, 4) for a, b in zip(left, left[1:])]


for name, model in (("no eta", train(4)), ("eta 0.01", train(4, eta=0.01)), ("two and two", train(2, train(2)))):
    print(name, taken(lambda k: model.predict(data, iteration_range=(0, k))[1]))
options = {"verbosity": -1, "boost_from_average": False, "min_data_in_leaf": 1, "num_threads": 1}
model = lightgbm.train(options, lightgbm.Dataset(x, y), 4, callbacks=[lightgbm.reset_parameter(learning_rate=rates)])
print("LightGBM", taken(lambda k: model.predict(x, num_iteration=k)[1]))
PYTHON
seen=$("$folder/venv/bin/python" "$folder/rates.py")
echo "$seen"
[[ $seen == "no eta [0.3, 0.5, 0.25, 0.125]
eta 0.01 [0.01, 0.5, 0.25, 0.125]
two and two [0.3, 0.5, 0.25, 0.5]
LightGBM [0.5, 0.25, 0.125, 0.0625]" ]]
