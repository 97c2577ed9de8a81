#!/usr/bin/env bash
# scikit-learn 1.9.1: class_weight="balanced" counts rows in some classifiers, and the rows' weights in others.
#
# Seen: rows with whole weights, or repeated as often: LogisticRegression, LinearSVC and RandomForestClassifier say the
# same of both. RidgeClassifier, SVC, DecisionTreeClassifier and HistGradientBoostingClassifier do so without
# class_weight alone: their classes are balanced as if every row counted once, also one of weight 0. The forest and the
# tree that it is made of differ.
# Why: compute_class_weight was given a sample_weight of its own, and not all callers pass it on.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
cat > "$folder/balance.py" <<'PYTHON'
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

rng = np.random.default_rng(0)
x = rng.normal(size=(60, 2))
y = (x[:, 0] + rng.normal(size=60) > 0.8).astype(int)
weights = rng.integers(0, 4, 60) * np.where(y == 1, 3, 1)
rows = np.repeat(np.arange(60), weights)
exact = {"tol": 1e-10, "max_iter": 100_000}
for kind, options in (
    (LogisticRegression, exact),
    (LinearSVC, exact),
    (RandomForestClassifier, {"n_estimators": 1, "bootstrap": False, "max_depth": 1, "max_features": None}),
    (RidgeClassifier, {}),
    (SVC, {"kernel": "linear", "tol": 1e-8}),
    (DecisionTreeClassifier, {"max_depth": 1}),
    (HistGradientBoostingClassifier, {"max_iter": 5, "min_samples_leaf": 1, "max_leaf_nodes": 2}),
):
    for balance in (None, "balanced"):
        net = kind(class_weight=balance, random_state=0, **options)
        said = net.decision_function if hasattr(net, "decision_function") else net.predict_proba
        weighted = (net.fit(x, y, sample_weight=weights), said(x))[1]
        repeated = (net.fit(x[rows], y[rows]), said(x))[1]
        print(kind.__name__, balance, "same" if np.abs(weighted - repeated).max() < 1e-3 else "others")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/balance.py")
echo "$seen"
[[ $seen == "LogisticRegression None same
LogisticRegression balanced same
LinearSVC None same
LinearSVC balanced same
RandomForestClassifier None same
RandomForestClassifier balanced same
RidgeClassifier None same
RidgeClassifier balanced others
SVC None same
SVC balanced others
DecisionTreeClassifier None same
DecisionTreeClassifier balanced others
HistGradientBoostingClassifier None same
HistGradientBoostingClassifier balanced others" ]]
