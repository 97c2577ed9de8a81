#!/usr/bin/env bash
# keras 3.15.1 (on JAX): SparseCategoricalCrossentropy takes 1.7 for the class 1, and -0.5 for the class 0.
#
# Seen: labels that were scaled to 0 .. 1, as features are, or a column of prices, lose what the class below them loses;
# no error and no warning. A net of three classes with the labels 0, 1/3 and 2/3 trains to a loss of 0, for all of them
# are the class 0. PyTorch 2.13 and optax 0.2.8 refuse labels that are floats.
# Why: the targets are cast to integers, which drops the fraction, toward 0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export KERAS_BACKEND=jax KERAS_HOME=$folder
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2 keras==3.15.1 numpy==2.4.6
cat > "$folder/labels.py" <<'PYTHON'
import keras
import numpy as np

loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
for label in (0.0, 0.9, -0.5, 1.0, 1.7):
    print(label, f"{float(loss(np.array([label], np.float32), np.array([[2.0, 0.0, 0.0]], np.float32))):.4f}")

keras.utils.set_random_seed(0)
x = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
digits = (x[:, 0] > 0) + (x[:, 1] > 0)  # 0, 1, 2
model = keras.Sequential([keras.layers.Dense(3)])
model.compile(keras.optimizers.Adam(0.1), loss, metrics=["accuracy"])
history = model.fit(x, digits / 3, epochs=100, verbose=0).history
print(f"scaled labels: loss {history['loss'][-1]:.1f}, accuracy {history['accuracy'][-1]:.1f}")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/labels.py")
echo "$seen"
[[ $seen == "0.0 0.2395
0.9 0.2395
-0.5 0.2395
1.0 2.2395
1.7 2.2395
scaled labels: loss 0.0, accuracy "* ]]
