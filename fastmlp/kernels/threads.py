"""How threads share a layer and wait for each other."""

from .jit import inner, kernel
from .simd import atomic_add, atomic_load, atomic_store, let_others_run, spin_pause

# Places in the `gate`, an int64 array of GATE_SIZE zeros; each has a cache line, or two, of its own.
# ARRIVED, OPENED: how many have come, how often it has opened. LEAVE: somebody needs a core; STOP: the step is to be
# given up, as nothing is changed yet; LEAVING, STOPPING: the same as all of them read it after a gate. DIVERGED: a
# row's loss is not finite. UNDO: 1 + the step whose update may be left half way, as who called can undo it. BROKEN:
# somebody will not come.
ARRIVED, OPENED, LEAVE, LEAVING, STOP, STOPPING, DIVERGED, UNDO, BROKEN, GATE_SIZE = range(0, 16 * 10, 16)


@inner
def share(columns, lanes, threads, thread):
    """[lo, hi): this thread's columns of a layer, in whole blocks of `lanes`."""
    blocks = columns // lanes
    return blocks * thread // threads * lanes, blocks * (thread + 1) // threads * lanes


@inner
def share_rows(rows, threads, thread):
    """[lo, hi): this thread's rows of a batch."""
    return rows * thread // threads, rows * (thread + 1) // threads


@inner
def wait_for_all(gate, threads, turn, patience):
    """Wait until every thread has come to this point for the `turn`-th time; returns the next turn.

    A thread that has looked `patience` times in vain asks all to leave, and from then on every thread gives its core
    away while it waits: the thread it waits for may need that core. The last to arrive writes down whether all will
    leave, so that all read the same answer after the gate.

    Error: RuntimeError where gate[BROKEN] is set meanwhile: the thread it waits for will not come.
    """
    if threads > 1:
        if atomic_add(gate, ARRIVED, 1) == threads * (turn + 1) - 1:
            atomic_store(gate, LEAVING, atomic_load(gate, LEAVE))
            atomic_store(gate, STOPPING, atomic_load(gate, STOP))
            atomic_store(gate, OPENED, turn + 1)
        else:
            looks = 0
            while atomic_load(gate, OPENED) <= turn:
                looks += 1
                if looks < patience and atomic_load(gate, LEAVE) == 0:
                    spin_pause()
                else:
                    if atomic_load(gate, BROKEN) != 0:
                        raise RuntimeError("another thread of the engine has ended early")
                    atomic_store(gate, LEAVE, 1)
                    let_others_run()
    return turn + 1


@inner
def is_asked_to_stop(gate, threads):
    """Whether the step is to be given up: the same answer for all threads between two gates."""
    return atomic_load(gate, STOPPING if threads > 1 else STOP) != 0


@kernel
def look(gate, times):
    """Look at a gate that stays shut, `times` times: what a look costs is measured with it."""
    looks = 0
    while atomic_load(gate, OPENED) <= 0 and looks < times:
        looks += 1
        spin_pause()
    return looks
