"""A version that is named by the beginning of its id."""

from __future__ import annotations

import json
from typing import Any

import pytest
from weights_servers import serving

from modelyard.cli import versioned
from modelyard.cli.client import Login
from modelyard.errors import NotFound


def test_a_beginning_that_several_versions_have_names_them() -> None:
    ids = [beginning.ljust(64, "0") for beginning in ("abcd1", "abcd2", "abce")]

    def answer(handler: Any) -> None:
        handler.answer(200, json.dumps({"results": [{"id": each} for each in ids], "next": None}).encode())

    with serving(answer) as url:
        login = Login(url, "r8_any")
        assert versioned.find(login, "yard/m:abcd1") == ("yard/m", {"id": ids[0]})
        with pytest.raises(NotFound) as several:
            versioned.find(login, "yard/m:abcd")
    assert several.value.detail == "yard/m has 2 versions that begin with abcd: abcd10000000, abcd20000000"
