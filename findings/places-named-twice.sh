#!/usr/bin/env bash
# scikit-learn 1.9.1, lightgbm 4.7.0, pyarrow 26.0.1: a place that a csr matrix names twice is not its sum.
#
# Seen: SciPy adds the values of one place, also before it takes abs, max or a power. In scikit-learn the first row of
# such a matrix is 2.449 away from the second where 2.828 is due, it is normalized to a length of 1.414, the variance
# of (2, 0) is 0, and TF-IDF counts a document twice. LightGBM, given x as 3 x and then -2 x, predicts for -2 x: the
# last one wins, and so it does in pyarrow's to_tensor. No error, no warning. A look at abs(x) or x.max() beforehand
# mends x in place, so that the same line gives other numbers after it.
# Why: each goes through the stored values one by one. Such matrices come from arrays that are put together by hand,
# as words occur in a text, and go unnoticed where all that is done with them is to add.
# Here a Dataset adds them first, as toarray() does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  scikit-learn==1.9.1 lightgbm==4.7.0 pyarrow==26.0.1 scipy==1.17.1 numpy==2.4.6
cat > "$folder/twice.py" <<'PYTHON'
import lightgbm
import numpy as np
import pyarrow
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.preprocessing import StandardScaler, normalize

x = sp.csr_matrix((np.array([1.0, 1.0, 2.0]), np.array([0, 0, 1]), np.array([0, 2, 3])), shape=(2, 2))
dense = x.toarray()
for made in (x, dense):
    lengths = np.linalg.norm(normalize(made) @ np.eye(2), axis=1)
    variances, idf = StandardScaler(with_mean=False).fit(made).var_, TfidfTransformer().fit(made).idf_.round(3)
    distances = euclidean_distances(made, dense)[0].round(3)
    print(f"distances {distances}, lengths {lengths.round(3)}, variance {variances}, idf {idf}")
print(f"to_tensor {pyarrow.SparseCSRMatrix.from_scipy(x).to_tensor().to_numpy().tolist()}")

rng = np.random.default_rng(0)
many = rng.normal(size=(300, 2))
model = lightgbm.train({"verbosity": -1, "num_threads": 1}, lightgbm.Dataset(many, many @ [1.0, 2.0]), 20)
both = sp.csr_matrix(
    (np.stack([3 * many, -2 * many], axis=2).ravel(), np.tile([0, 0, 1, 1], 300), np.arange(0, 1201, 4)),
    shape=many.shape,
)
assert np.allclose(both.toarray(), many)
abs(x)
print(f"after abs(x): distances {euclidean_distances(x, dense)[0].round(3)}")
print(f"predicts for -2 x: {np.array_equal(model.predict(both), model.predict(-2 * many))}")
PYTHON
seen=$(cd "$folder" && venv/bin/python twice.py)
echo "$seen"
[[ $seen == "distances [0.    2.449], lengths [1.414 1.   ], variance [0. 1.], idf [1.    1.405]
distances [0.    2.828], lengths [1. 1.], variance [1. 1.], idf [1.405 1.405]
to_tensor [[1.0, 0.0], [0.0, 2.0]]
after abs(x): distances [0.    2.828]
predicts for -2 x: True" ]]
