"""What a member of a sweep does besides training: it ends after a checkpoint when the sweep's process is gone."""

from __future__ import annotations

import os
import signal
import sys
import threading

VARIABLE = "SPOUT_SWEEP_MEMBER"
"""Set in the environment of a sweep's members, whose standard input is a pipe that only the sweep's process holds."""


def stop_with_sweep() -> None:
    """Sends this process SIGTERM as soon as the sweep's process is gone, however that ended; nothing in other runs."""
    if os.environ.pop(VARIABLE, None) is None:
        return
    threading.Thread(target=_wait_for_the_end, name="stop_with_sweep", daemon=True).start()


def _wait_for_the_end() -> None:
    # Nobody ever writes: reading ends when the last process that could is gone.
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)
