"""Several processes of one command, for systems whose worker is a single process.

``python twins.py COUNT COMMAND...``: SIGTERM is passed on, and all have ended when it ends.
"""

from __future__ import annotations

import signal
import subprocess
import sys


def main(count: int, command: list[str]) -> None:
    """Run ``count`` of ``command`` until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    free = signal.pthread_sigmask
    twins = [
        subprocess.Popen(
            command,
            preexec_fn=lambda: free(signal.SIG_UNBLOCK, {signal.SIGTERM}),  # noqa: PLW1509
        )
        for _ in range(count)
    ]
    signal.sigwait({signal.SIGTERM})
    for twin in twins:
        twin.terminate()
    for twin in twins:
        twin.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
