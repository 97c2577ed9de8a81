"""Beyond one machine: one training on several.

    mpiexec -n 2 python train.py        # where train.py calls fastmlp.scale.fit_parallel(model, data, epochs=10)

Loaded when it is used; the extra `mpi` installs what `fit_parallel` needs.
"""

from .parallel import doors, fit_parallel, resume_parallel
from .ranks import rank

__all__ = ["doors", "fit_parallel", "rank", "resume_parallel"]
