#!/usr/bin/env bash
# pytest 9.2.0 with pytest-xdist 3.8.0: --dist loadgroup no longer keeps a group in one process, and nobody says so.
#
# Seen: twenty tests marked as one group run in two processes; with pytest 8.4.2 and the same xdist in one. What a group
# was for, such as one measurement that many tests share, is done twice, or two tests meet at a port or a file.
# Why: xdist writes the group behind the private name of a test and reads it there; pytest 9.2 makes a test's name anew.
# --dist loadfile works with both: the Makefile of this project takes that.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > test_group.py <<'PYTHON'
import os

import pytest


@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(20))
def test_of_the_group(number):
    with open("processes.txt", "a") as file:
        file.write(f"{os.getpid()}\n")
PYTHON
processes() {
  python3 -m venv "venv-$1"
  "venv-$1/bin/python" -m pip install --quiet --disable-pip-version-check "pytest==$1" pytest-xdist==3.8.0
  rm -f processes.txt
  "venv-$1/bin/python" -m pytest -q -p no:cacheprovider -n 2 --dist "$2" test_group.py > /dev/null
  sort -u processes.txt | wc -l
}
seen="9.2.0 loadgroup $(processes 9.2.0 loadgroup); 9.2.0 loadfile $(processes 9.2.0 loadfile); 8.4.2 loadgroup $(processes 8.4.2 loadgroup)"
echo "$seen"
[[ $seen == "9.2.0 loadgroup 2; 9.2.0 loadfile 1; 8.4.2 loadgroup 1" ]]
