"""Disks so small that a test fills them up."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="a small disk is mounted for this, which needs root (sudo make test)"
)


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A new disk in this new folder; `size` in the words of tmpfs, such as `64m`."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
