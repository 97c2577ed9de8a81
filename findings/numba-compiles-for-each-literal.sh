#!/usr/bin/env bash
# Numba 0.68.1, NumPy 2.4.6: a jitted function that jitted code calls is compiled anew for each literal that is passed.
#
# Seen: add(a, 1), add(a, 2) and add(a, a), called from one jitted function, leave three signatures of add, where the
# same calls from Python leave one. Why: the caller's type inference hands on the type of the literal, and the
# dispatcher looks for just that type. A helper that is called with constants costs a compilation each.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check numba==0.68.1 numpy==2.4.6
cat > "$folder/literals.py" <<'PYTHON'
import numba


@numba.njit
def add(a, b):
    return a + b


@numba.njit
def outer(a):
    return add(a, 1) + add(a, 2) + add(a, a)


outer(1)
print(len(add.signatures), [str(types[1]) for types in add.signatures])
again = numba.njit(add.py_func)
again(1, 1), again(1, 2), again(1, 3)
print(len(again.signatures))
PYTHON
seen=$("$folder/venv/bin/python" "$folder/literals.py")
echo "$seen"
[ "$seen" = "3 ['Literal[int](1)', 'Literal[int](2)', 'int64']
1" ]
