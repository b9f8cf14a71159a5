"""Files named by somebody who is not trusted are opened below a folder, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelyard import confined


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "file").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    return root


def test_a_plain_file_is_opened_and_stays_the_same_file(root: Path) -> None:
    with confined.opened(root, str(root / "sub" / "file")) as path:
        (root / "sub" / "file").unlink()
        (root / "sub" / "file").symlink_to(root.parent / "secret")
        assert path.read_text() == "inside"


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/hostname", "", "sub", "sub/none", "sub/../../secret", "pipe", "link", "linked/secret"]
)
def test_what_leads_elsewhere_or_is_no_plain_file_is_refused(root: Path, name: str) -> None:
    os.mkfifo(root / "pipe")
    (root / "link").symlink_to(root.parent / "secret")
    (root / "linked").symlink_to(root.parent)
    with pytest.raises(OSError, match="the file"), confined.opened(root, f"{root}/{name}" if name[:1] != "/" else name):
        raise AssertionError("it was opened")
