#!/usr/bin/env bash
# numpy 2.4.6: the state of a generator, saved and set again, does not hold how many generators it has spawned.
#
# Seen: a generator that has spawned one child is saved as its bit_generator.state, the part that goes into JSON.
# A new generator of the same seed with that state goes on with the same numbers, but the next child it spawns is the
# first one over again, number for number, where the second is due: two workers that should differ shuffle alike. A
# generator of another seed, given the state, spawns the children of its own seed. A pickle of it spawns the second.
# Why: children come from the seed and a count of them, which lie in bit_generator.seed_seq, and only the pickle has it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6
cat > "$folder/spawn.py" <<'PYTHON'
import pickle

import numpy as np


def stream(rng):
    return rng.integers(1000, size=3).tolist()


def resumed(seed):
    rng = np.random.default_rng(seed)
    rng.bit_generator.state = state
    return rng


rng = np.random.default_rng(0)
first = stream(rng.spawn(1)[0])
state, pickled = rng.bit_generator.state, pickle.dumps(rng)
second, own = stream(rng.spawn(1)[0]), stream(rng)
again, other, whole = resumed(0), resumed(1), pickle.loads(pickled)
print("children", first, second)
print("state set again", stream(again.spawn(1)[0]), "own numbers the same", stream(again) == own)
print("in another seed", stream(other.spawn(1)[0]), "own numbers the same", stream(other) == own)
print("pickle", stream(whole.spawn(1)[0]))
PYTHON
seen=$("$folder/venv/bin/python" "$folder/spawn.py")
echo "$seen"
[[ $seen == "children [802, 942, 5] [662, 677, 352]
state set again [802, 942, 5] own numbers the same True
in another seed [15, 699, 828] own numbers the same True
pickle [662, 677, 352]" ]]
