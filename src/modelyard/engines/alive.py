"""Whether a process is still the one that it was."""

from __future__ import annotations

import psutil


def started_at(pid: int) -> float | None:
    """When the process with this number began, in seconds since 1970; None when there is none that runs."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None
