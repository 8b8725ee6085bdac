"""Ends this process with its parent, by the kernel's hand where it can (Linux).

The fork server imports this first of all, so that a supervisor killed while the application is
still being loaded leaves nothing behind; every child arms it again, because it is not inherited.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def arm(parent: int | None = None) -> None:
    """Have this process killed when its parent dies; elsewhere the end of its pipe tells it.

    ``parent`` is who it should be; if it is somebody else by now, it has died meanwhile.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)
