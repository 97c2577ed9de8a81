"""The doors for a debugger: a kernel's plain function, and one sentence where the compiler is switched off."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastmlp import kernels
from fastmlp.kernels import activations

x = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)


@pytest.mark.parametrize("name", ["relu_forward", "leaky_relu_forward"])
def test_a_kernel_runs_as_plain_python(name):
    """The same numbers: a person may step through it."""
    kernel = getattr(activations, name)
    compiled, plain, numbers = np.empty_like(x), np.empty_like(x), np.array([0.1])
    kernel(x, compiled, numbers, 0, 7)
    kernel.py_func(x, plain, numbers, 0, 7)
    np.testing.assert_array_equal(plain, compiled)


def test_a_rule_runs_as_plain_python():
    p, g, m, v = (np.full(6, value) for value in (1.0, 0.5, 0.0, 0.0))
    option, scale = np.array([1e-3, 0.9, 0.999, 1e-8, 0.0, 0.0, 0.0]), np.zeros(kernels.SCALES)
    kernels.adam_scale.py_func(option, 1e-3, 1, scale)
    kernels.adam_update.py_func(p, g, m, v, p[:0], option, scale)
    np.testing.assert_allclose(p, 1 - 1e-3, rtol=1e-7)  # Adam's first step is lr, but for eps / |g| = 2e-8 of it


def test_without_the_compiler_the_package_says_so_in_a_sentence():
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    run = subprocess.run(
        [sys.executable, "-c", "import fastmlp"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.strip().splitlines()[-1].startswith("ImportError: fastmlp: NUMBA_DISABLE_JIT is set")


@pytest.mark.parametrize("script", ["train", "evaluate", "predict", "explain", "study"])
def test_a_script_without_the_compiler_says_so_in_a_line(script):
    path = Path(__file__).parent.parent / "scripts" / f"{script}.py"
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    run = subprocess.run(
        [sys.executable, str(path), "--help"], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert run.stderr.startswith(f"{script}.py: error: fastmlp: NUMBA_DISABLE_JIT is set")
