#!/usr/bin/env bash
# scikit-learn 1.9.1 with scipy 1.17.1: PolynomialFeatures of rows whose indices do not ascend mixes its columns up.
#
# Seen: the columns of (0, 1, 3) in another order, x[:, [2, 0, 1]], are (3, 0, 1), held as the 1 and then the 3. Of
# its products x0 x2 is 0 and x1 x1 is 3, where 3 and 0 are due. A product of two matrices does the same. As a dense
# array, or after sort_indices(), it is right. No warning, and no other estimator of the library that was tried minds
# the order.
# Why: the place of the product of columns i and j is computed for i <= j, and i is the one that is held first. SciPy
# leaves indices in no order after a choice of columns and after a product, since sorting them costs time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
cat > "$folder/products.py" <<'PYTHON'
import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import PolynomialFeatures

chosen = sp.csr_array(np.array([[0.0, 1.0, 3.0]]))[:, [2, 0, 1]]
product = sp.csr_array(np.array([[0.0, 1.0, 3.0]])) @ sp.csr_array(np.eye(3)[[1, 0, 2]])
products = PolynomialFeatures(2, include_bias=False)
for name, x in (("chosen", chosen), ("product", product)):
    print(f"{name} {x.toarray()[0]}, sorted {bool(x.has_sorted_indices)}")
    print(f"  sparse {products.fit_transform(x).toarray()[0, 3:]}, dense {products.fit_transform(x.toarray())[0, 3:]}")
    x.sort_indices()
    assert (products.fit_transform(x).toarray() == products.fit_transform(x.toarray())).all()
PYTHON
seen=$(cd "$folder" && venv/bin/python products.py)
echo "$seen"
[[ $seen == "chosen [3. 0. 1.], sorted False
  sparse [9. 0. 0. 3. 0. 1.], dense [9. 0. 3. 0. 0. 1.]
product [1. 0. 3.], sorted False
  sparse [1. 0. 0. 3. 0. 9.], dense [1. 0. 3. 0. 0. 9.]" ]]
