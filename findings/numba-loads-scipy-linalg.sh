#!/usr/bin/env bash
# numba 0.68.1 with scipy 1.16.3: the first jitted function, whatever it computes, imports scipy.linalg.
#
# Seen: a function that adds 1 to a whole number, loaded from Numba's cache and not compiled, brings scipy.linalg and some
# hundred modules of SciPy into the process. Without SciPy installed the same function starts without them. So the
# same program starts some 0.2 to 0.4 s later in an environment that happens to have SciPy, though nobody uses it.
# Why: numba/np/arraymath.py asks, when it is imported, whether a BLAS is there, by importing scipy.linalg.cython_blas.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/add.py" <<'PYTHON'
import sys

import numba


@numba.njit(cache=True)
def add_one(n):
    return n + 1


assert add_one(1) == 2
hits = sum(add_one.stats.cache_hits.values())
print(f"cache hits {hits}, scipy.linalg {'scipy.linalg' in sys.modules}, "
      f"modules of scipy {sum(name.startswith('scipy') for name in sys.modules)}")
PYTHON
for packages in "numba==0.68.1" "numba==0.68.1 scipy==1.16.3"; do
  rm -rf "$folder/venv" "$folder/__pycache__"
  python3 -m venv "$folder/venv"
  # shellcheck disable=SC2086
  "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check $packages
  "$folder/venv/bin/python" "$folder/add.py" > /dev/null
  seen=$("$folder/venv/bin/python" "$folder/add.py")
  echo "$packages: $seen"
  case "$packages" in
    *scipy*) [[ $seen == "cache hits 1, scipy.linalg True, modules of scipy "[1-9]* ]] ;;
    *) [[ $seen == "cache hits 1, scipy.linalg False, modules of scipy 0" ]] ;;
  esac
done
