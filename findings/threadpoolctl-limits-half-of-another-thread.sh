#!/usr/bin/env bash
# threadpoolctl 3.8.0 with scikit-learn 1.9.1: a limit of 1 does not hold for OpenMP in a thread that begins under it.
#
# Seen: within threadpool_limits(1) the thread that asked has one thread for OpenBLAS and one for OpenMP. A thread
# that is started there has one for OpenBLAS, and for OpenMP the four of OMP_NUM_THREADS. So fits side by side, in an
# executor or in joblib's backend of threads, under a limit that was meant for all of them, use four threads each in
# gradient boosting and k-means and one in products of matrices.
# Why: OpenBLAS has one number for the process; OpenMP's is each thread's own, and a new one begins with that of the
# environment.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  threadpoolctl==3.8.0 scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
cat > "$folder/limits.py" <<'PYTHON'
from concurrent.futures import ThreadPoolExecutor

import sklearn.cluster  # noqa: F401  (brings OpenMP)
from threadpoolctl import threadpool_info, threadpool_limits


def counts():
    found = {(pool["user_api"], pool["num_threads"]) for pool in threadpool_info()}
    return ", ".join(f"{kind} {threads}" for kind, threads in sorted(found))


with threadpool_limits(1):
    print(f"here: {counts()}")
    with ThreadPoolExecutor() as pool:
        print(f"in a new thread: {pool.submit(counts).result()}")
PYTHON
seen=$(OMP_NUM_THREADS=4 OPENBLAS_NUM_THREADS=2 "$folder/venv/bin/python" "$folder/limits.py")
echo "$seen"
[[ $seen == "here: blas 1, openmp 1
in a new thread: blas 1, openmp 4" ]]
