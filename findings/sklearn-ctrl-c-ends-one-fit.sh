#!/usr/bin/env bash
# scikit-learn 1.9.1: Ctrl-C while MLPClassifier fits is swallowed: the search around it goes on, with its score spoilt.
#
# Seen: cross_val_score with five folds, SIGINT in the fifth epoch of the first: five scores come back, the first from
# five epochs, the others from 200, and the program ends with the exit code 0. The trace is a warning, "Training
# interrupted by user." A grid search picks among such scores, and a loop over settings needs one Ctrl-C for each.
# Why: fit catches KeyboardInterrupt and returns as if it had been finished, and whoever called it cannot tell.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6
cat > "$folder/folds.py" <<'PYTHON'
import contextlib
import os
import signal
import warnings

import numpy as np
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier

signals, warned = [], []
warnings.showwarning = lambda message, *_: warned.append(str(message))


class Screen:
    """Presses Ctrl-C, once, as soon as the fifth epoch is printed."""

    def write(self, text):
        if text.startswith("Iteration 5,") and not signals:
            signals.append(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    def flush(self):
        pass


def epochs(model, x, y):
    return model.n_iter_


x = np.random.default_rng(0).normal(size=(300, 5))
y = (x[:, 0] > 0).astype(int)
with contextlib.redirect_stdout(Screen()):
    model = MLPClassifier((10,), max_iter=200, tol=0, n_iter_no_change=200, random_state=0, verbose=True)
    made = cross_val_score(model, x, y, cv=5, scoring=epochs)
print(f"epochs {made.astype(int).tolist()}, signals {len(signals)}, {warned[0]}")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/folds.py" && echo "exit code 0")
echo "$seen"
[[ $seen == "epochs [5, 200, 200, 200, 200], signals 1, Training interrupted by user.
exit code 0" ]]
