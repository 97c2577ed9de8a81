"""The long half of `test_guard`: every shape and kind between fences, on other vector units too, and whole files of
tests in the mode FASTMLP_GUARD=1: the kernels, all declared kinds on the engine with one to four threads, the graph,
predictions, evaluations."""

import os
import re
import subprocess
import sys
from pathlib import Path

import fences
import pytest
from test_simd import HOST_FEATURES, UNITS, X86

TESTS = Path(fences.__file__).resolve().parent
IN_THE_MODE = (
    "average", "clip", "contract_engine", "contract_layers", "contract_losses", "contract_rules", "divergence",
    "engine", "evaluations", "graph", "graph_arithmetic", "kernels", "kernels_data", "kernels_layers",
    "kernels_losses", "kernels_products", "kernels_rules", "losses", "mapped", "nn", "nn_layers", "norms",
    "own_layers", "own_losses", "plan", "prelu", "shards", "shuffle", "simd", "train", "train_steps", "trusted",
)  # fmt: skip


@pytest.mark.parametrize("unit", ["host", *UNITS])
@pytest.mark.parametrize("part", fences.PARTS)
def test_kernels_stay_within_their_arrays_in_every_shape(part, unit, tmp_path):
    variables = {}
    if unit != "host":
        cpu, features, needed = UNITS[unit]
        if not X86 or not all(HOST_FEATURES.get(feature) for feature in needed):
            pytest.skip(f"this processor has no {unit}")
        variables = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features}
    status, where, said = fences.run(f"fences.main({part!r}, True)", tmp_path, 3000, **variables)
    assert status == 0, f"{where}: {said}"
    print(f"\n{unit}: {said.strip()}")


@pytest.mark.parametrize("name", IN_THE_MODE)
def test_a_file_of_tests_passes_in_the_mode(name):
    environment = os.environ | {"FASTMLP_GUARD": "1", "PYTHONPATH": os.pathsep.join([str(fences.ROOT), str(TESTS)])}
    command = [sys.executable, "-m", "pytest", "-p", "guarded", "-p", "no:cacheprovider", "-v", f"tests/test_{name}.py"]
    done = subprocess.run(command, env=environment, cwd=fences.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"\nFASTMLP_GUARD=1, test_{name}.py: {re.search('[0-9]+ passed[^=]*', done.stdout)[0]}")
