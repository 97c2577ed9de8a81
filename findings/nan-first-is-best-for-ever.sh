#!/usr/bin/env bash
# lightgbm 4.7.0, xgboost 3.2.0, keras 3.15.1 (on JAX): a NaN as the first score is the best one for the whole training.
#
# Seen: a measure that is NaN once, at the first round or epoch, and better each time after: early stopping with a
# patience of 3 ends them after the fourth, with the first as the best; Keras puts the first weights back, and
# ModelCheckpoint(save_best_only=True), within 10 epochs, has saved those of the first alone. Such a measure is the
# correlation of predictions that are still all equal. A NaN at any later time does no harm. No error, no warning.
# Why: the first score is taken without a comparison, and no number is less, or more, than NaN.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export KERAS_BACKEND=jax KERAS_HOME=$folder
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  lightgbm==4.7.0 xgboost-cpu==3.2.0 jax==0.10.2 keras==3.15.1 numpy==2.4.6
cat > "$folder/first.py" <<'PYTHON'
import os

import keras
import lightgbm
import numpy as np
import xgboost

x = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
y = x[:, 0]


def scores(nan):
    """0, 1, 2, .. as they rise, with one NaN."""
    return iter([float("nan") if k == nan else float(k) for k in range(10)])


class Score(keras.callbacks.Callback):
    def __init__(self, nan):
        super().__init__()
        self.scores = scores(nan)

    def on_epoch_end(self, epoch, logs=None):
        logs["score"] = next(self.scores)


for nan in (0, 1):
    now = scores(nan)
    model = lightgbm.train(
        {"metric": "None", "verbosity": -1, "num_threads": 1}, lightgbm.Dataset(x, y), 10,
        valid_sets=[lightgbm.Dataset(x, y)], feval=lambda *_: ("score", next(now), True),
        callbacks=[lightgbm.early_stopping(3, verbose=False)],
    )
    print(f"NaN at {nan}: LightGBM's best {model.best_iteration - 1}", end="; ")

    now = scores(nan)
    data = xgboost.DMatrix(x, y)
    model = xgboost.train(
        {"disable_default_eval_metric": True, "nthread": 1}, data, 10, evals=[(data, "same")], maximize=True,
        custom_metric=lambda *_: ("score", next(now)), early_stopping_rounds=3, verbose_eval=False,
    )
    print(f"XGBoost's {model.best_iteration} of {model.num_boosted_rounds()}", end="; ")

    for name, callback in (
        ("Keras's", keras.callbacks.EarlyStopping("score", mode="max", patience=3, restore_best_weights=True)),
        ("saved", keras.callbacks.ModelCheckpoint("{epoch}.keras", monitor="score", mode="max", save_best_only=True)),
    ):
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        epochs = len(model.fit(x, y, epochs=10, verbose=0, callbacks=[Score(nan), callback]).epoch)
        if name == "saved":
            saved = sorted(int(file.partition(".")[0]) - 1 for file in os.listdir() if file.endswith(".keras"))
            print(name, saved)
        else:
            print(f"{name} {callback.best_epoch} of {epochs}", end="; ")
    for file in saved:
        os.remove(f"{file + 1}.keras")
PYTHON
seen=$(cd "$folder" && venv/bin/python first.py 2>/dev/null)
echo "$seen"
[[ $seen == "NaN at 0: LightGBM's best 0; XGBoost's 0 of 4; Keras's 0 of 4; saved [0]
NaN at 1: LightGBM's best 9; XGBoost's 9 of 10; Keras's 9 of 10; saved [0, 2, 3, 4, 5, 6, 7, 8, 9]" ]]
