#!/usr/bin/env bash
# keras 3.15.1 (on JAX) and optax 0.2.8: a class masked by a logit of minus infinity makes the loss NaN, not the gradient.
#
# Seen: logits (-inf, 0, 0), the second class is right: ln 2 = 0.6931 is due. keras.losses.SparseCategoricalCrossentropy
# and optax.softmax_cross_entropy give NaN, with the right gradient (0, -0.5, 0.5). So the training goes on and learns,
# while its history, early stopping and whatever ends a training at NaN see a divergence that is none.
# optax.softmax_cross_entropy_with_integer_labels gives 0.6931, as PyTorch 2.13 does.
# Why: the target of the masked class is 0 and its log-probability minus infinity; 0 · -inf is NaN in the sum.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export KERAS_BACKEND=jax KERAS_HOME=$folder
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2 optax==0.2.8 keras==3.15.1
cat > "$folder/masked.py" <<'PYTHON'
import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax

z, label = jnp.array([[-jnp.inf, 0.0, 0.0]]), np.array([1])
losses = {
    "keras": lambda z: keras.losses.SparseCategoricalCrossentropy(from_logits=True)(label, z),
    "optax one-hot": lambda z: optax.softmax_cross_entropy(z, jax.nn.one_hot(label, 3)).mean(),
    "optax labels": lambda z: optax.softmax_cross_entropy_with_integer_labels(z, label).mean(),
}
for name, loss in losses.items():
    value, slope = jax.value_and_grad(loss)(z)
    print(f"{name}: {value:.4f} {[float(s) for s in slope[0]]}")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/masked.py")
echo "$seen"
[[ $seen == "keras: nan [0.0, -0.5, 0.5]
optax one-hot: nan [0.0, -0.5, 0.5]
optax labels: 0.6931 [0.0, -0.5, 0.5]" ]]
