"""Beyond one training, and beyond one machine: sweeps that survive, and one training on several machines.

    found = fastmlp.scale.sweep(data, {"lr": fastmlp.scale.log_uniform(1e-4, 1e-1)}, "runs/sweep", n_jobs=2)

    mpiexec -n 2 python train.py        # where train.py calls fastmlp.scale.fit_parallel(model, data, epochs=10)

joblib, dask and mpi4py are loaded when they are used; the extras `scale`, `dask` and `mpi` install them.
"""

from .parallel import fit_parallel, resume_parallel
from .ranks import rank
from .space import Range, integers, log_uniform, uniform
from .sweep import Sweep, Trial, sweep

__all__ = [
    "Range",
    "Sweep",
    "Trial",
    "fit_parallel",
    "integers",
    "log_uniform",
    "rank",
    "resume_parallel",
    "sweep",
    "uniform",
]
