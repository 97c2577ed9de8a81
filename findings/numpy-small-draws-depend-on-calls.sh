#!/usr/bin/env bash
# numpy 2.4.6: six numbers drawn as bytes, 16-bit numbers or booleans are others in one call than in two of three.
#
# Seen: Generator.integers with dtype uint8, uint16 or bool, six at once or three and three from the same seed: the
# second three differ. With uint32 and int64, and with random and standard_normal of float32, they are the same. A mask
# of booleans that is drawn for each batch is another one when the batch size changes, or when a training is resumed
# within what was one call, though seed and number of draws are the same.
# Why: four bytes, or 32 booleans, are cut from one 32-bit word; what is left of it at the end of a call is thrown away
# and is in no state that can be saved.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6
cat > "$folder/draws.py" <<'PYTHON'
import numpy as np

draws = {
    name: lambda rng, n, name=name: rng.integers(2 if name == "bool" else 200, size=n, dtype=name)
    for name in ("bool", "uint8", "uint16", "uint32", "int64")
}
draws["random"] = lambda rng, n: rng.random(n, np.float32)
draws["normal"] = lambda rng, n: rng.standard_normal(n, np.float32)
for name, draw in draws.items():
    once, twice = np.random.default_rng(0), np.random.default_rng(0)
    whole, parts = draw(once, 6), np.concatenate([draw(twice, 3), draw(twice, 3)])
    print(f"{name} {np.array_equal(whole[:3], parts[:3])} {np.array_equal(whole, parts)}", end="; ")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/draws.py")
echo "$seen"
[[ $seen == "bool True False; uint8 True False; uint16 True False; uint32 True True; int64 True True; "\
"random True True; normal True True; " ]]
