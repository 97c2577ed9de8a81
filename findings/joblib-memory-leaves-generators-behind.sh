#!/usr/bin/env bash
# joblib 1.6.0 with numpy 2.4.6: a cached function that draws from a generator does not move it when it is a hit.
#
# Seen: split(rng, 5), cached by joblib.Memory, draws a permutation; the next number of the same generator is 0.017 in
# the first run of a program and 0.637 in the second, in which the permutation comes from the cache: the first number
# over again, one that the permutation was made of. So the second run of an unchanged, seeded program is another
# training, and one that is resumed goes on with other numbers than the one that was interrupted.
# Why: the generator is hashed by its state, so that the call is found, and what a function changes in its arguments is
# not kept. A seed for an argument, and the generator made inside, gives the same in both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check joblib==1.6.0 numpy==2.4.6
cat > "$folder/cached.py" <<'PYTHON'
import joblib
import numpy as np

memory = joblib.Memory("cache", verbose=0)


@memory.cache
def split(rng, n):
    return rng.permutation(n)


rng = np.random.default_rng(0)
print(split(rng, 5), f"{rng.random():.3f}")
PYTHON
seen=$(cd "$folder" && venv/bin/python cached.py && venv/bin/python cached.py)
echo "$seen"
[[ $seen == "[2 4 3 0 1] 0.017
[2 4 3 0 1] 0.637" ]]
