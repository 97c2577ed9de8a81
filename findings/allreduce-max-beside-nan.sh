#!/usr/bin/env bash
# mpi4py 4.1.2 with mpich 5.0.2: the ranks get different answers from one Allreduce(MAX) if one of them has NaN.
#
# Seen: the ranks have 1, 2, 3, 4, one of them NaN, as a loss that diverged. With two ranks each gets what the other
# has, with four there are up to three different answers. Ranks that stop by it, or take the best, go separate
# ways, which an allreduce is there to prevent. The lower-case allreduce gives all of them the same: NaN if rank 0 has
# it, else a number, though not always the largest: 2 of 1, 2, NaN, 4. Nobody is told. torch 2.13.0 with gloo gives all
# ranks the same tensor, but of equal numbers it makes half NaN and half not.
# Why: each rank computes a > b ? a : b of its own and what came, in its own order, and no number is more than NaN.
# Ranks that put infinity in the place of NaN agree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  mpi4py==4.1.2 mpich==5.0.2 torch==2.13.0 numpy==2.4.6
cat > "$folder/mpi.py" <<'PYTHON'
import numpy as np
from mpi4py import MPI

comm = MPI.COMM_WORLD
for nan in (0, comm.size // 2):
    own, got = np.array([np.nan if comm.rank == nan else comm.rank + 1.0]), np.empty(1)
    for name, op in (("MAX", MPI.MAX), ("MIN", MPI.MIN)):
        comm.Allreduce(own, got, op)
        all_have = comm.gather((got[0], comm.allreduce(own[0], op)))
        if comm.rank == 0:
            upper, lower = (" ".join(f"{one:g}" for one in answers) for answers in zip(*all_have))
            print(f"{comm.size} ranks, NaN on {nan}: {name} {upper}; lower-case {lower}")
PYTHON
cat > "$folder/gloo.py" <<'PYTHON'
import sys

import torch
import torch.distributed as dist


def work(rank, where):
    dist.init_process_group("gloo", init_method=f"file://{where}", rank=rank, world_size=2)
    own = torch.full((4,), float("nan") if rank == 0 else 2.0)
    dist.all_reduce(own, dist.ReduceOp.MAX)
    both = [torch.empty(4) for _ in range(2)]
    dist.all_gather(both, own)
    if rank == 0:
        print("gloo:", *(one.tolist() for one in both))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.multiprocessing.spawn(work, (sys.argv[1],), nprocs=2)
PYTHON
seen=$(for ranks in 2 4; do "$folder/venv/bin/mpiexec" -n $ranks "$folder/venv/bin/python" "$folder/mpi.py"; done
  GLOO_SOCKET_IFNAME=lo "$folder/venv/bin/python" "$folder/gloo.py" "$folder/meeting" 2>/dev/null)
echo "$seen"
[[ $seen == "2 ranks, NaN on 0: MAX 2 nan; lower-case nan nan
2 ranks, NaN on 0: MIN 2 nan; lower-case nan nan
2 ranks, NaN on 1: MAX nan 1; lower-case 1 1
2 ranks, NaN on 1: MIN nan 1; lower-case 1 1
4 ranks, NaN on 0: MAX 4 4 4 nan; lower-case nan nan nan nan
4 ranks, NaN on 0: MIN 2 3 2 nan; lower-case nan nan nan nan
4 ranks, NaN on 2: MAX 4 nan 4 2; lower-case 2 2 2 2
4 ranks, NaN on 2: MIN 1 nan 1 1; lower-case 1 1 1 1
gloo: [nan, nan, 2.0, 2.0] [nan, nan, 2.0, 2.0]" ]]
