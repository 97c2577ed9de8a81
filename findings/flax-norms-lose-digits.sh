#!/usr/bin/env bash
# flax 0.12.8 with jax 0.10.2: batch norm and layer norm of numbers far from zero are noise, by default and silently.
#
# Seen: of the float32 numbers 10,000 .. 10,003 batch norm makes -474.3 .. 474.3 and layer norm -1500 .. 1500, where
# -1.3416 .. 1.3416 is due; the running variance takes a batch variance of 0 in. float32 holds the numbers and their
# mean exactly. A column of years, of heights above the sea or of prices is like that.
# Why: use_fast_variance=True takes E[x²] - E[x]², the difference of two numbers near 10⁸ that float32 keeps to 8.
# With use_fast_variance=False both are right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2 flax==0.12.8
cat > "$folder/norms.py" <<'PYTHON'
import jax.numpy as jnp
from flax import nnx

x = jnp.arange(10_000.0, 10_004.0, dtype=jnp.float32)
rngs = nnx.Rngs(0)
for fast in (True, False):
    batch = nnx.BatchNorm(1, use_fast_variance=fast, rngs=rngs)
    layer = nnx.LayerNorm(4, use_fast_variance=fast, rngs=rngs)
    print(f"fast {fast}: batch norm {batch(x[:, None])[0, 0]:.2f}, layer norm {layer(x[None])[0, 0]:.2f}, "
          f"running variance {batch.var[0]:.4f}")
print(f"default: batch norm {nnx.BatchNorm(1, rngs=rngs)(x[:, None])[0, 0]:.2f}")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/norms.py")
echo "$seen"
[[ $seen == "fast True: batch norm -474.34, layer norm -1500.00, running variance 0.9900
fast False: batch norm -1.34, layer norm -1.34, running variance 1.0025
default: batch norm -474.34" ]]
