"""A child that ends with its parent, where the kernel can do that; elsewhere the next start clears it away."""

import ctypes
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def end_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """Return what a child has to call before it runs its program, to be sent `number` when its parent dies."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, number)
