#!/usr/bin/env bash
# scikit-learn 1.9.1: train_test_split by two columns takes two different groups for one where their words have spaces.
#
# Seen: eight rows, four of ("new york", "state") and four of ("new", "york state"), stratify=frame, half held out: the
# seeds 0 .. 7 hold out 2, 2, 2, 0, 2, 2, 1 and 2 rows of the second group, where 2 is promised. With an underscore in
# place of the space it is 2 for every seed. One column of such words is split as it should be.
# Why: the columns of a row are joined by a space, and the words that come of it are the classes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  scikit-learn==1.9.1 pandas==3.1.1 scipy==1.17.1 numpy==2.4.6
cat > "$folder/split.py" <<'PYTHON'
import pandas as pd
from sklearn.model_selection import train_test_split

frame = pd.DataFrame({"city": ["new york"] * 4 + ["new"] * 4, "rest": ["state"] * 4 + ["york state"] * 4})
for name, groups in (("spaces", frame), ("underscores", frame.replace(" ", "_", regex=True)), ("one", frame["city"])):
    held = [train_test_split(frame, stratify=groups, test_size=4, random_state=seed)[1] for seed in range(8)]
    print(name, [int((rows["city"] == "new").sum()) for rows in held])
PYTHON
seen=$("$folder/venv/bin/python" "$folder/split.py")
echo "$seen"
[[ $seen == "spaces [2, 2, 2, 0, 2, 2, 1, 2]
underscores [2, 2, 2, 2, 2, 2, 2, 2]
one [2, 2, 2, 2, 2, 2, 2, 2]" ]]
