"""What belongs to one process."""

from __future__ import annotations

from typing import Any


class OfThisProcess:
    """Base of what holds addresses: of compiled kernels, of rows, of threads' buffers.

    A copy would hold the same addresses, which in another process, or once the original is gone, lead elsewhere.
    Error: TypeError where one is copied or pickled. A fork keeps addresses: it may go on with what it inherits.
    """

    def __getstate__(self) -> Any:
        """Refuses, for `copy` and `pickle`."""
        raise TypeError(
            f"{type(self).__name__} holds addresses in the memory of this process and cannot be copied or pickled; "
            "copy the model, and make another from it"
        )
