#!/usr/bin/env bash
# jax 0.10.2, hypothesis 6.170.17, distributed 2026.8.0: Ctrl-C during a collection of garbage is lost.
#
# Seen, 20 signals, each a third of the way through a collection, with the handler that Python has for Ctrl-C: a bare
# process and one that has imported hypothesis lose none, as KeyboardInterrupt is raised when the collection is over. A
# process that has imported jax loses all 20, so does one in which hypothesis has run a test, and one in which a worker
# of distributed lives: the program goes on, and "Exception ignored in: <function _xla_gc_callback ...>" is printed.
# Why: each puts a Python function into gc.callbacks. The interpreter looks for signals when it begins a function, and
# after a collection that is this one; what a callback raises is printed and dropped. So a time limit that is a signal,
# or Ctrl-C in a process that collects often, may come to nothing. That of distributed fails at the next one, too, with an
# AssertionError that is dropped as well.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 \
  hypothesis==6.170.17 distributed==2026.8.0 dask==2026.8.0
cat > "$folder/lost.py" <<'PYTHON'
import gc
import signal
import sys
import time

what, kept = sys.argv[1], []
if what == "jax":
    import jax
elif what.startswith("hypothesis"):
    import hypothesis

    if what == "hypothesis, used":
        hypothesis.given(hypothesis.strategies.integers())(lambda number: None)()
elif what == "distributed":
    from distributed import LocalCluster

    kept.append(LocalCluster(n_workers=1, processes=False, dashboard_address=None))
signal.signal(signal.SIGALRM, signal.default_int_handler)
printed = []
sys.unraisablehook = lambda dropped: printed.append(dropped.exc_type)
heap = [[number] for number in range(1_500_000)]
start = time.perf_counter()
gc.collect()
takes, lost = time.perf_counter() - start, 0
for _ in range(20):
    signal.setitimer(signal.ITIMER_REAL, takes / 3)
    try:
        gc.collect()
        time.sleep(2 * takes)
        lost += 1
    except KeyboardInterrupt:
        pass
assert printed.count(KeyboardInterrupt) == lost, printed
print(f"{what}: {'all' if lost >= 18 else 'none' if lost == 0 else lost} lost")
PYTHON
seen=$(for what in nothing jax hypothesis "hypothesis, used" distributed; do
  "$folder/venv/bin/python" "$folder/lost.py" "$what" 2> /dev/null
done)
echo "$seen"
[[ $seen == "nothing: none lost
jax: all lost
hypothesis: none lost
hypothesis, used: all lost
distributed: all lost" ]]
