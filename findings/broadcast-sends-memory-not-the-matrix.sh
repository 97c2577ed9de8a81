#!/usr/bin/env bash
# mpi4py 4.1.2 with mpich 5.0.2, torch 2.13.0 with gloo: a matrix that lies otherwise in memory arrives permuted.
#
# Seen: 2 x 3 weights in Fortran's order on rank 0, as W.T, scipy and a loaded .npy leave them, sent with Bcast into
# np.empty((2, 3)): the other rank has other weights, of the same shape. Allreduce of such a gradient into a new array
# gives a sum whose numbers stand at wrong places. An array of neither order is refused. torch's broadcast does the same
# with a transposed matrix, and with images in channels_last where the receiver has them plain; its all_reduce of a
# plain and a transposed tensor leaves each rank with another wrong sum. Nobody is told.
# Why: both check that memory is dense, in whatever order, and send it as it lies; strides are not compared.
# np.ascontiguousarray, or .contiguous(), before each such call helps. The lower-case bcast is right.
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
own = np.asfortranarray(np.arange(6.0).reshape(2, 3))
came = own.copy("K") if comm.rank == 0 else np.empty((2, 3))
comm.Bcast(came)
total = np.empty((2, 3))
comm.Allreduce(own, total)
try:
    comm.Bcast(np.zeros((4, 6))[::2, ::2])
    refused = False
except BufferError:
    refused = True
for name, array in (("Bcast", came), ("bcast", comm.bcast(own)), ("Allreduce", total)):
    arrays = comm.gather(array.astype(int).tolist())
    if comm.rank == 0:
        print(name, *arrays)
if comm.rank == 0:
    print(f"neither order: {'refused' if refused else 'sent'}")
PYTHON
cat > "$folder/gloo.py" <<'PYTHON'
import sys

import torch
import torch.distributed as dist


def work(rank, where):
    dist.init_process_group("gloo", init_method=f"file://{where}", rank=rank, world_size=2)
    matrix = torch.arange(6.0).reshape(2, 3)
    images = torch.arange(8.0).reshape(1, 2, 2, 2)
    turned = matrix.T.contiguous().T  # equal to matrix
    results = {
        "broadcast": turned.clone() if rank == 0 else torch.zeros(2, 3),
        "channels_last": images.to(memory_format=torch.channels_last) if rank == 0 else torch.zeros(1, 2, 2, 2),
        "all_reduce": matrix.clone() if rank == 0 else turned.clone(),
    }
    for name, tensor in results.items():
        if name == "all_reduce":
            dist.all_reduce(tensor)
        else:
            dist.broadcast(tensor, 0)
        everyone = [None, None]
        dist.all_gather_object(everyone, tensor.int().flatten(0, -2).tolist())
        if rank == 0:
            print(name, *everyone)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.multiprocessing.spawn(work, (sys.argv[1],), nprocs=2)
PYTHON
seen=$("$folder/venv/bin/mpiexec" -n 2 "$folder/venv/bin/python" "$folder/mpi.py"
  GLOO_SOCKET_IFNAME=lo "$folder/venv/bin/python" "$folder/gloo.py" "$folder/meeting" 2>/dev/null)
echo "$seen"
[[ $seen == "Bcast [[0, 1, 2], [3, 4, 5]] [[0, 3, 1], [4, 2, 5]]
bcast [[0, 1, 2], [3, 4, 5]] [[0, 1, 2], [3, 4, 5]]
Allreduce [[0, 6, 2], [8, 4, 10]] [[0, 6, 2], [8, 4, 10]]
neither order: refused
broadcast [[0, 1, 2], [3, 4, 5]] [[0, 3, 1], [4, 2, 5]]
channels_last [[0, 1], [2, 3], [4, 5], [6, 7]] [[0, 4], [1, 5], [2, 6], [3, 7]]
all_reduce [[0, 4, 3], [7, 6, 10]] [[0, 3, 6], [4, 7, 10]]" ]]
