#!/usr/bin/env bash
# torch 2.13.0 with scikit-learn 1.9.1: torch.set_num_threads binds scikit-learn too, if torch was imported first.
#
# Seen: after torch.set_num_threads(1) the loops of scikit-learn that use OpenMP, gradient boosting, k-means and
# distances, have one thread where torch was imported before scikit-learn, and keep their own number where it was
# imported after. So the order of two import lines, which a formatter sorts, decides how fast the other library is;
# and a loader or server that asks torch for one thread slows the trees beside it down.
# Why: each brings a library of GNU's OpenMP of its own. Torch loads its own one for the whole process to see, so that
# what is loaded later finds its functions there; threadpoolctl lists both as they are loaded.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  torch==2.13.0 scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
cat > "$folder/order.py" <<'PYTHON'
import importlib
import sys

for name in sys.argv[1:]:
    importlib.import_module(name)
torch = sys.modules["torch"]
helpers = importlib.import_module("sklearn.utils._openmp_helpers")
torch.set_num_threads(3)
before = helpers._openmp_effective_n_threads()
torch.set_num_threads(1)
print(f"{sys.argv[1]} first: {before} threads, then {helpers._openmp_effective_n_threads()}")
PYTHON
for order in "torch sklearn.cluster" "sklearn.cluster torch"; do
  # shellcheck disable=SC2086
  seen=$(OMP_NUM_THREADS=4 "$folder/venv/bin/python" "$folder/order.py" $order)
  echo "$seen"
  case "$order" in
    torch*) [[ $seen == "torch first: 3 threads, then 1" ]] ;;
    *) [[ $seen == "sklearn.cluster first: 4 threads, then 4" ]] ;;
  esac
done
