"""The average of weights beside the weights, which goes a part of the way to them after each step or each epoch."""

from .jit import kernel
from .simd import view
from .threads import share


@kernel
def move_average(a, p, weight):
    """a ← a + w (p - a);  a = p where w = 1.    a, p: (n,)"""
    w = p.dtype.type(weight)
    for i in range(p.size):
        a[i] = p[i] if weight == 1 else a[i] + w * (p[i] - a[i])


@kernel
def move_averages(net, average, p, own_p, threads, thread, weight):
    """The average of each parameter, for this thread's columns; the first thread has those that all compute alone."""
    for number in range(net.slots.shape[0]):
        slot = net.slots[number]
        if thread == 0 or not slot.alone:
            lo, hi = share(slot.width, net.lanes, 1 if slot.alone else threads, 0 if slot.alone else thread)
            at, size = slot.at + lo * slot.inputs, ((hi - lo) * slot.inputs,)
            a = average.own_a if slot.alone else average.a
            move_average(view(a, at, size), view(own_p[thread] if slot.alone else p, at, size), weight)
