"""One end of a socket between ``umbel dev`` and its worker.

The worker says over it that it is ready.  When it closes, ``umbel dev`` is gone, however it ended,
and the worker stops.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import suppress

READY = b"ready"


class Leash:
    """The worker's end."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._socket = socket.socket(fileno=descriptor)
        threading.Thread(target=self._watch, name="umbel-leash", daemon=True).start()

    def ready(self) -> None:
        """Say that the worker takes tasks."""
        with suppress(OSError):
            self._socket.sendall(READY)

    def _watch(self) -> None:
        with suppress(OSError):
            while self._socket.recv(1):
                pass
        os.kill(os.getpid(), signal.SIGTERM)
