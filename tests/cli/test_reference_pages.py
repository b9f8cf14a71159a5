"""The reference of commands and settings is what they say themselves."""

from __future__ import annotations

import pytest
import reference_pages


@pytest.mark.parametrize("name", list(reference_pages.PAGES))
def test_the_page_is_what_the_commands_say(name: str) -> None:
    written = (reference_pages.REFERENCE / name).read_text()
    assert written == reference_pages.PAGES[name](), "python tests/cli/reference_pages.py writes it again"
