#!/usr/bin/env bash
# scikit-learn 1.9.1: MLPClassifier's early_stopping holds out a share of each of two classes, but not of three.
#
# Seen: 180 rows of one class and 20 of another, a tenth held out: 2 rows of the rare one for every seed. 170, 20 and 10
# rows of three classes: of the two rare ones 3 and 0, 2 and 1, 1 and 1, 4 and 2, 1 and 1, 0 and 0, where 2 and 1 are
# due. The score that stops the training then does not know of a class at all; a class of one row may be held out
# whole, and is never trained on, where a class of one row among two is refused. The validation score is plain accuracy,
# so nobody sees it.
# Why: the split is stratified where n_outputs_ is 1, to leave out labels that a row may have several of; but that is
# also the number of classes, one column each, as soon as there are more than two.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
cat > "$folder/held.py" <<'PYTHON'
import warnings

import numpy as np
from sklearn.neural_network import MLPClassifier, _multilayer_perceptron

warnings.simplefilter("ignore")  # one epoch converges nowhere
split, held = _multilayer_perceptron.train_test_split, []


def watched(*arrays, **options):
    parts = split(*arrays, **options)
    held.append(parts[3].sum(axis=0).tolist())  # of y, which has a column a class: two classes have one
    return parts


_multilayer_perceptron.train_test_split = watched
x = np.random.default_rng(0).normal(size=(200, 2))
for counts in ((180, 20), (170, 20, 10)):
    held.clear()
    for seed in range(6):
        net = MLPClassifier(2, early_stopping=True, max_iter=1, random_state=seed)
        net.fit(x, np.repeat(range(len(counts)), counts))
    print(counts, [row[-2:] for row in held])
try:
    MLPClassifier(2, early_stopping=True).fit(x, np.repeat(range(2), (199, 1)))
except ValueError as error:
    print("199, 1:", str(error)[:38])
MLPClassifier(2, early_stopping=True, max_iter=1).fit(x, np.repeat(range(3), (100, 99, 1)))
print("100, 99, 1: fitted")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/held.py")
echo "$seen"
[[ $seen == "(180, 20) [[2], [2], [2], [2], [2], [2]]
(170, 20, 10) [[3, 0], [2, 1], [1, 1], [4, 2], [1, 1], [0, 0]]
199, 1: The least populated classes in y have "*"
100, 99, 1: fitted" ]]
