"""Ranks that are threads of this process, with messages that hold a sender to MPI's rule and take their time.

A message is read out of the sender's array when the receiver looks for it, not before: who writes to the array between
sends something else, and a test sees it.
"""

import random
import threading
import time
from collections import defaultdict, deque
from typing import Any

import numpy as np


class Sent:
    def __init__(self, array: np.ndarray) -> None:
        self.array, self.received = array, False

    def Test(self) -> bool:
        return self.received


class Coming:
    def __init__(self, box: deque, lock: Any, into: np.ndarray, chance: random.Random) -> None:
        self.box, self.lock, self.into, self.chance, self.there = box, lock, into, chance, False

    def Test(self) -> bool:
        if not self.there and self.chance.random() < 0.7:
            with self.lock:
                if self.box:
                    sent = self.box.popleft()
                    assert sent.array.shape == self.into.shape
                    assert sent.array.dtype == self.into.dtype
                    self.into[...] = sent.array
                    sent.received = self.there = True
        return self.there


class Comm:
    """One rank's view of `size` ranks that share `boxes`."""

    def __init__(self, rank: int, size: int, boxes: dict, lock: Any) -> None:
        self.rank, self.size, self.boxes, self.lock, self.chance = rank, size, boxes, lock, random.Random(rank)
        self.aborted = False

    def Get_rank(self) -> int:
        return self.rank

    def Get_size(self) -> int:
        return self.size

    def Isend(self, array: np.ndarray, rank: int, tag: int) -> Sent:
        sent = Sent(array)
        with self.lock:
            self.boxes[self.rank, rank, tag].append(sent)
        return sent

    def Irecv(self, array: np.ndarray, rank: int, tag: int) -> Coming:
        return Coming(self.boxes[rank, self.rank, tag], self.lock, array, self.chance)

    def Abort(self, code: int) -> None:
        self.aborted = True


def on_ranks(size: int, work: Any) -> list[Any]:
    """[work(comm) of each rank], side by side; the first error of any is raised."""
    boxes: dict = defaultdict(deque)
    lock, results, errors = threading.Lock(), [None] * size, [None] * size
    comms = [Comm(rank, size, boxes, lock) for rank in range(size)]

    def run(rank: int) -> None:
        try:
            results[rank] = work(comms[rank])
        except BaseException as error:
            errors[rank] = error

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 60
    while any(thread.is_alive() for thread in threads) and time.monotonic() < end and not any(errors):
        time.sleep(0.002)
    for thread in threads:
        thread.join(1)
    for error in errors:
        if error is not None:
            raise error
    assert not any(thread.is_alive() for thread in threads), "a rank waits for a message that nobody sends"
    assert not any(boxes.values()), "a message that nobody has asked for"
    return results
