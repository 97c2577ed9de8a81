#!/usr/bin/env bash
# scikit-learn 1.9.1: SGDRegressor's partial_fit, called once an epoch, visits the rows in the same order every time.
#
# Seen: rows without features, a rate of 0.5, so that the intercept tells the order: after epochs 1, 2, 3 of
# partial_fit, with random_state=0, it is -0.360570 each time; fit with max_iter 1, 2, 3 leaves -0.360570, -0.566376 and
# 0.109886. The row that always comes last has half the say. Nor does learning_rate="adaptive" ever lower the rate
# there: with an eta0 of 2 a bias of 1 jumps between 1 and -1 for a thousand epochs, where fit divides the rate by 5. So
# a loop of partial_fit, which is how a training is watched, saved and resumed, is another training than fit.
# Why: each call makes its generator, and the state of the rate, anew.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6
cat > "$folder/epochs.py" <<'PYTHON'
import warnings

import numpy as np
from sklearn.linear_model import SGDRegressor

warnings.simplefilter("ignore")  # that fit has not converged
x, t = np.zeros((20, 1)), np.random.default_rng(0).normal(size=20)
options = {"learning_rate": "constant", "eta0": 0.5, "penalty": None, "tol": None, "random_state": 0}
parts = SGDRegressor(**options)
after = [parts.partial_fit(x, t).intercept_[0] for _ in range(3)]
whole = [SGDRegressor(**options, max_iter=k).fit(x, t).intercept_[0] for k in (1, 2, 3)]
for name, intercepts in (("partial_fit", after), ("fit", whole)):
    print(name, [round(float(b), 6) for b in intercepts])

# One row of target 0, from a bias of 1: a rate of 2 sends b to -b, and as that is no progress, the rate should fall.
options |= {"learning_rate": "adaptive", "eta0": 2.0, "tol": 1e-3, "n_iter_no_change": 1}
one = np.zeros((1, 1))
parts = SGDRegressor(**options).fit(one, [0.0], intercept_init=[1.0])
print("adaptive fit", round(float(abs(parts.intercept_[0])), 6))
parts = SGDRegressor(**options)
parts.partial_fit(one, [1.0])
parts.intercept_[:] = 1
for _ in range(1000):
    parts.partial_fit(one, [0.0])
print("adaptive partial_fit", round(float(abs(parts.intercept_[0])), 6))
PYTHON
seen=$("$folder/venv/bin/python" "$folder/epochs.py")
echo "$seen"
[[ $seen == "partial_fit [-0.36057, -0.36057, -0.36057]
fit [-0.36057, -0.566376, 0.109886]
adaptive fit 0.093916
adaptive partial_fit 1.0" ]]
