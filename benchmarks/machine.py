"""What the system gives: cores, file handles, and how much memory a process has."""

import os
import re
import subprocess
from pathlib import Path

_FILE_HANDLES = 10_400  # what the largest figure needs in one process


def raise_file_limit() -> int:
    """Allow this process as many file handles as the figures need, if the system does; returns how many there are."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILE_HANDLES if hard == resource.RLIM_INFINITY else min(_FILE_HANDLES, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _FILE_HANDLES if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def cores() -> tuple[int, int] | None:
    """The core for servers and the core for the load; None where processes cannot be put on cores or there is only one."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    available = sorted(os.sched_getaffinity(0))
    return (available[0], available[1]) if len(available) > 1 else None


def rss_bytes(pid: int) -> int:
    """The memory of a process that is in RAM."""
    status = Path(f"/proc/{pid}/status")
    if status.is_file():
        found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text())
        if found:
            return int(found[1]) * 1024
    done = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)  # noqa: S603, S607
    return int(done.stdout) * 1024
