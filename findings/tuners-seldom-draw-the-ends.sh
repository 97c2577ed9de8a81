#!/usr/bin/env bash
# hyperopt 0.3.0, nevergrad 1.0.12, scikit-optimize 0.10.2: of whole numbers the first and last are drawn too seldom.
#
# Seen, 4,000 draws of 1, 2 or 3, in percent: hyperopt's uniformint and nevergrad's integer Scalar give 25, 50, 25, a
# nevergrad Array with the same bounds 7, 87, 7. scikit-optimize's Integer gives thirds where it is drawn from, but 25,
# 50, 25 in its own Sobol and Latin hypercube samplers, and as the Integer that gp_minimize makes of it (normalised).
# So one layer, or three, are tried half as often as two. hyperopt's randint, ConfigSpace 1.2.2 and optuna 5.0.0 (also
# by QMCSampler) give thirds. Nobody is told.
# Why: a real number from 1 to 3 is drawn and rounded, so that the ends have half an interval each; nevergrad draws an
# Array from a normal distribution that is centred between the bounds.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check hyperopt==0.3.0 nevergrad==1.0.12 \
  scikit-optimize==0.10.2 ConfigSpace==1.2.2 optuna==5.0.0 numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1
cat > "$folder/ends.py" <<'PYTHON'
import warnings

import ConfigSpace
import nevergrad
import numpy as np
import optuna
from hyperopt import hp
from hyperopt.pyll.stochastic import sample
from skopt.sampler import Lhs, Sobol
from skopt.space import Integer, Space
from skopt.utils import normalize_dimensions

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)
N, rng = 4000, np.random.default_rng(0)


def asked(parameter):
    parameter.random_state.seed(0)
    optimizer = nevergrad.optimizers.RandomSearch(parameter.set_integer_casting(), budget=N)
    return [np.ravel(optimizer.ask().value)[0] for _ in range(N)]


def studied(sampler):
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: trial.suggest_int("x", 1, 3), 1000)
    return [trial.params["x"] for trial in study.trials]


space = ConfigSpace.ConfigurationSpace({"x": (1, 3)}, seed=0)
for name, drawn in {
    "hyperopt uniformint": [sample(hp.uniformint("x", 1, 3), rng=rng) for _ in range(N)],
    "hyperopt randint": [sample(hp.randint("x", 1, 4), rng=rng) for _ in range(N)],
    "nevergrad Scalar": asked(nevergrad.p.Scalar(lower=1, upper=3)),
    "nevergrad Array": asked(nevergrad.p.Array(shape=(1,), lower=1, upper=3)),
    "skopt Integer": Space([Integer(1, 3)]).rvs(N, random_state=0),
    "skopt Integer, normalised": normalize_dimensions([Integer(1, 3)]).rvs(N, random_state=0),
    "skopt Sobol": Sobol().generate([Integer(1, 3)], 4096, random_state=0),
    "skopt Lhs": Lhs().generate([Integer(1, 3)], N, random_state=0),
    "ConfigSpace": [one["x"] for one in space.sample_configuration(N)],
    "optuna": studied(optuna.samplers.RandomSampler(seed=0)),
    "optuna QMC": studied(optuna.samplers.QMCSampler(seed=0)),
}.items():
    shares = np.bincount(np.ravel(drawn).astype(int), minlength=4)[1:] / len(drawn)
    kind = "even" if np.ptp(shares) < 0.05 else "1 : 2 : 1" if np.ptp(shares) < 0.3 else "1 : 13 : 1"
    assert np.allclose(shares, {"e": 1 / 3, "1 : 2": [0.25, 0.5, 0.25], "1 : 1": [0.07, 0.87, 0.07]}[
        "e" if kind == "even" else kind[:5]
    ], atol=0.03), shares  # fmt: skip
    print(f"{name}: {kind}")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/ends.py")
echo "$seen"
[[ $seen == "hyperopt uniformint: 1 : 2 : 1
hyperopt randint: even
nevergrad Scalar: 1 : 2 : 1
nevergrad Array: 1 : 13 : 1
skopt Integer: even
skopt Integer, normalised: 1 : 2 : 1
skopt Sobol: 1 : 2 : 1
skopt Lhs: 1 : 2 : 1
ConfigSpace: even
optuna: even
optuna QMC: even" ]]
