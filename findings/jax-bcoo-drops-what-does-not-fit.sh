#!/usr/bin/env bash
# jax 0.10.2: BCOO.fromdense with a number of elements that is too small drops the rest, by place and not by size.
#
# Seen: [[0, 0.5, 0], [0.25, 0, 9]] with nse=2 is [[0, 0.5, 0], [0.25, 0, 0]]: the 9 is gone, and so is its gradient,
# which is 0. BCSR.fromdense does the same, and sum_duplicates(nse=1) keeps the first place alone. No error and no
# warning, also outside of jit, where the arrays and their sizes are known. nse has to be given under jit, and is
# mostly the count that a first batch had.
# Why: the places are looked up with a fixed size, as jnp.nonzero(size=...) has it, which cuts off what is more.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cat > "$folder/fits.py" <<'PYTHON'
import jax
import jax.numpy as jnp
from jax.experimental.sparse import BCOO, BCSR

dense = jnp.array([[0.0, 0.5, 0.0], [0.25, 0.0, 9.0]])
for kind in (BCOO, BCSR):
    print(f"{kind.__name__} {kind.fromdense(dense, nse=2).todense().tolist()}")
print(f"gradient {jax.grad(lambda x: BCOO.fromdense(x, nse=2).todense().sum())(dense).tolist()}")
print(f"sum_duplicates {BCOO.fromdense(dense).sum_duplicates(nse=1).todense().tolist()}")
PYTHON
seen=$(cd "$folder" && venv/bin/python fits.py)
echo "$seen"
[[ $seen == "BCOO [[0.0, 0.5, 0.0], [0.25, 0.0, 0.0]]
BCSR [[0.0, 0.5, 0.0], [0.25, 0.0, 0.0]]
gradient [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
sum_duplicates [[0.0, 0.5, 0.0], [0.0, 0.0, 0.0]]" ]]
