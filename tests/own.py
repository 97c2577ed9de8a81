"""What the tests of a user's own kinds share."""

import numpy as np
import pytest

rng = np.random.default_rng(0)
x, labels = rng.normal(size=(60, 5)).astype(np.float32), rng.integers(0, 3, 60)
prices = rng.normal(size=(60, 1))
BOTH = "it must be (forward, backward), two functions under fastmlp.kernels.kernel"


def made(base, **declared):
    """A class of a user's own that declares so much."""
    return type("Own", (base,), {"__module__": __name__} | declared)


def said(function) -> str:
    """What a TypeError or a ValueError says: one line."""
    with pytest.raises((TypeError, ValueError)) as caught:
        function()
    assert "\n" not in str(caught.value)
    return str(caught.value)
