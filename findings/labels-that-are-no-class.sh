#!/usr/bin/env bash
# optax 0.2.8, jax 0.10.2, keras 3.15.1 (on JAX): cross-entropy takes labels that are no class, each in its own way.
#
# Seen, for three classes: optax takes label -1 as the last class, loss and gradient; for label 3 the loss is NaN, but
# the gradient is finite and pushes all logits down, so that a training goes on from it. Keras gives the loss -0 and no
# gradient for both, and counts the row in the mean, so that a wrong encoding looks like a small loss. No warning from
# either. PyTorch 2.13 raises for both. (-1 marks missing labels in many data sets.)
# Why: optax gathers by index, which JAX wraps from the end, and fills with NaN past it; Keras makes one-hot rows of 0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export KERAS_BACKEND=jax KERAS_HOME=$folder
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2 optax==0.2.8 keras==3.15.1
cat > "$folder/labels.py" <<'PYTHON'
import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax

z = jnp.array([[2.0, 0.0, 0.0]])
losses = {
    "optax": lambda z, y: optax.softmax_cross_entropy_with_integer_labels(z, y).mean(),
    "keras": lambda z, y: keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, z),
}
for name, loss in losses.items():
    for label in (2, -1, 3):
        value, slope = jax.value_and_grad(loss)(z, np.array([label]))
        print(name, label, f"{value:.4f}", [round(float(s), 4) + 0.0 for s in slope[0]])
PYTHON
seen=$("$folder/venv/bin/python" "$folder/labels.py")
echo "$seen"
[[ $seen == "optax 2 2.2395 [0.787, 0.1065, -0.8935]
optax -1 2.2395 [0.787, 0.1065, -0.8935]
optax 3 nan [0.787, 0.1065, 0.1065]
keras 2 2.2395 [0.787, 0.1065, -0.8935]
keras -1 -0.0000 [0.0, 0.0, 0.0]
keras 3 -0.0000 [0.0, 0.0, 0.0]" ]]
