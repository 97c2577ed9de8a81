#!/usr/bin/env bash
# datasets 5.2.0: a stream that is shuffled and then split with take and skip trains on its validation rows.
#
# Seen: 12 rows in 3 shards as an IterableDataset, shuffle(seed), take(4) for validation, skip(4) for training. Within
# an epoch they share no row. Each epoch, which set_epoch begins so that the order is another one, holds out other rows:
# after 5 epochs all 12 rows have been trained on, the first validation set among them. The score of the validation is
# therefore one of rows that were seen, and nobody is told. Without set_epoch the split is fixed, and so is the order;
# split before it is shuffled, the stream keeps its validation rows out and still has another order each epoch.
# Why: take and skip count the rows that come out of the shuffle, whose generator set_epoch seeds anew.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export HF_HOME=$folder HF_HUB_OFFLINE=1
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  datasets==5.2.0 pyarrow==26.0.1 numpy==2.4.6
cat > "$folder/split.py" <<'PYTHON'
from datasets import Dataset

stream = Dataset.from_dict({"row": list(range(12))}).to_iterable_dataset(num_shards=3)


def rows(part):
    return [one["row"] for one in part]


def shuffled_then_split():
    whole = stream.shuffle(seed=0, buffer_size=100)
    return whole.skip(4), whole.take(4)


def split_then_shuffled():
    return stream.skip(4).shuffle(seed=0, buffer_size=100), stream.take(4)


for make in (shuffled_then_split, split_then_shuffled):
    for epochs in (True, False):
        train, validation = make()
        first, seen, orders, shared = set(rows(validation)), set(), set(), 0
        for epoch in range(5):
            if epochs:
                train.set_epoch(epoch)
                validation.set_epoch(epoch)
            order = rows(train)
            shared += len(set(order) & set(rows(validation)))
            seen |= set(order)
            orders.add(tuple(order))
        print(f"{make.__name__}, set_epoch {epochs}: {shared} in both at a time, {len(seen)} trained on,", end=" ")
        print(f"{len(seen & first)} of the first held out; orders {len(orders)}")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/split.py")
echo "$seen"
[[ $seen == "shuffled_then_split, set_epoch True: 0 in both at a time, 12 trained on, 4 of the first held out; orders 5
shuffled_then_split, set_epoch False: 0 in both at a time, 8 trained on, 0 of the first held out; orders 1
split_then_shuffled, set_epoch True: 0 in both at a time, 8 trained on, 0 of the first held out; orders 5
split_then_shuffled, set_epoch False: 0 in both at a time, 8 trained on, 0 of the first held out; orders 1" ]]
