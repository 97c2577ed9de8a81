#!/usr/bin/env bash
# optuna 5.0.0: of the choices 1 and 1.0 both are run, but 1 is stored for either, and is called the best.
#
# Seen, with max_features of scikit-learn 1.9.1, where 1 is one feature and 1.0 all of them: a study on SQLite, or in a
# journal's file, runs both, but has stored 1 for each. Its best value is that of 1.0, its best_params say 1, and a tree
# that is made of them has a score far below the best value. In memory the same holds for trials that enqueue_trial has
# asked for. Nobody is told. (ConfigSpace 1.2.2 refuses such choices; hyperopt's go by their number.)
# Why: a choice is stored by its place, found with ==, and 1 == 1.0 in Python, as True == 1. Choices as strings, turned
# into numbers within the objective, help.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  optuna==5.0.0 scikit-learn==1.9.1 numpy==2.4.6
cat > "$folder/choices.py" <<'PYTHON'
import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from sklearn.tree import DecisionTreeRegressor

optuna.logging.set_verbosity(optuna.logging.ERROR)
x = np.random.default_rng(0).normal(size=(600, 20))
y = x[:, 0]
choices = [1, 1.0, "sqrt"]


def score(max_features):
    tree = DecisionTreeRegressor(max_features=max_features, random_state=0).fit(x[:400], y[:400])
    return tree.score(x[400:], y[400:])


def studied(sampler, trials, storage=None, ask=(), choices=choices):
    ran = []

    def objective(trial):
        ran.append(trial.suggest_categorical("max_features", choices))
        return score(ran[-1])

    study = optuna.create_study(storage=storage, sampler=sampler, direction="maximize")
    for choice in ask:
        study.enqueue_trial({"max_features": choice})
    study.optimize(objective, trials)
    return study, ran


for name, study, ran in (
    ("SQLite", *studied(optuna.samplers.RandomSampler(seed=0), 12, "sqlite:///study.db")),
    ("journal", *studied(optuna.samplers.RandomSampler(seed=0), 12, JournalStorage(JournalFileBackend("study.log")))),
    ("asked for", *studied(None, 3, ask=choices)),
):
    stored = [trial.params["max_features"] for trial in study.trials]
    print(f"{name}: ran {sorted(set(map(repr, ran)))}, stored {sorted(set(map(repr, stored)))}", end="; ")
    best = study.best_params["max_features"]
    print(f"best_params {best!r}: {study.best_value > 0.9}, again {score(best) > 0.9}")
PYTHON
seen=$(cd "$folder" && venv/bin/python choices.py 2>/dev/null)
echo "$seen"
[[ $seen == "SQLite: ran [\"'sqrt'\", '1', '1.0'], stored [\"'sqrt'\", '1']; best_params 1: True, again False
journal: ran [\"'sqrt'\", '1', '1.0'], stored [\"'sqrt'\", '1']; best_params 1: True, again False
asked for: ran [\"'sqrt'\", '1', '1.0'], stored [\"'sqrt'\", '1']; best_params 1: True, again False" ]]
