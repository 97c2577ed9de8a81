#!/usr/bin/env bash
# scikit-learn 1.9.1: class_weight by name is refused where the names of the classes are digits.
#
# Seen: the classes are '0' and '1', class_weight={'0': 1, '1': 5}: "The classes, [0, 1], are not in class_weight", and
# so for '3' and 'b'. With the integers 0 and 1 as keys, which are no classes of these data, it trains. Where a name is
# no number, {'a': 1, 'b': 5}, names are right. (The digits of MNIST, as fetch_openml gives them, are such names.)
# Why: compute_class_weight looks each class up as int(c), and as the name only where int refuses it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6
cat > "$folder/weights.py" <<'PYTHON'
import numpy as np
from sklearn.linear_model import LogisticRegression

x = np.array([[0.0], [1.0], [2.0], [3.0]])
for y, weight in (
    (["0", "0", "1", "1"], {"0": 1, "1": 5}),
    (["3", "3", "b", "b"], {"3": 1, "b": 5}),
    (["0", "0", "1", "1"], {0: 1, 1: 5}),
    (["a", "a", "b", "b"], {"a": 1, "b": 5}),
):
    try:
        print(weight, f"{LogisticRegression(class_weight=weight).fit(x, y).intercept_[0]:.4f}")
    except ValueError as error:
        print(weight, error)
PYTHON
seen=$("$folder/venv/bin/python" "$folder/weights.py")
echo "$seen"
[[ $seen == "{'0': 1, '1': 5} The classes, [0, 1], are not in class_weight
{'3': 1, 'b': 5} The classes, [3], are not in class_weight
{0: 1, 1: 5} "*"
{'a': 1, 'b': 5} "* ]]
