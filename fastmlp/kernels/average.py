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
def move_averages(net, average, p, threads, thread, weight):
    """The average of each parameter, for this thread's columns."""
    for number in range(net.slots.shape[0]):
        slot = net.slots[number]
        lo, hi = share(slot.width, net.lanes, threads, thread)
        at, size = slot.at + lo * slot.inputs, ((hi - lo) * slot.inputs,)
        move_average(view(average.a, at, size), view(p, at, size), weight)
