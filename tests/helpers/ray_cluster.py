"""Processes of a Ray cluster that was begun by this process or by one of its children."""

from __future__ import annotations

import subprocess
from pathlib import Path


def below(parent: int) -> list[int]:
    """All processes below a process."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    children: dict[int, list[int]] = {}
    for line in listed.stdout.splitlines():
        pid, above = map(int, line.split())
        children.setdefault(above, []).append(pid)
    found, left = [], [parent]
    while left:
        found += (own := children.get(left.pop(), []))
        left += own
    return found


def title(pid: int) -> str:
    """What a process calls itself; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def workers(parent: int, busy: bool = True) -> list[int]:
    """Workers of clusters below a process: those that compute, or all."""
    return [pid for pid in below(parent) if title(pid).startswith("ray::_answer" if busy else "ray::")]
