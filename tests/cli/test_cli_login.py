"""`yard login` against a real yard, and how the other commands find what it stored."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from yard_process import Run, Server

from modelyard.cli import client
from modelyard.errors import UsageError


def stored(home: Path) -> Path:
    return home / ".config" / "modelyard" / "login.json"


def test_a_login_is_verified_and_kept_for_its_owner_alone(yard: Run, server: Server, home: Path) -> None:
    done = yard("login", server.url, "--token-stdin", "--json", stdin=server.token + "\n", XDG_CONFIG_HOME="")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["account"]["username"] == "yard"
    assert f"Logged in to {server.url} as yard" in done.stderr
    assert server.token not in done.stdout + done.stderr
    assert json.loads(stored(home).read_text()) == {"url": server.url, "token": server.token}
    assert stat.S_IMODE(stored(home).stat().st_mode) == 0o600
    assert [each.name for each in stored(home).parent.iterdir()] == ["login.json"]


def test_a_token_that_the_yard_does_not_know_is_not_kept(yard: Run, server: Server, home: Path) -> None:
    done = yard("login", server.url, "--token", "r8_" + "w" * 37)
    assert done.returncode == 1
    assert f"error: {server.url} does not accept the token" in done.stderr
    assert not stored(home).exists()


def test_without_a_yard_the_hint_is_to_start_one(yard: Run) -> None:
    done = yard("login", "http://127.0.0.1:9", "--token", "r8_" + "w" * 37)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no yard answers at http://127.0.0.1:9: Connection refused\nhint: start one")


def test_without_a_terminal_nobody_is_asked(yard: Run) -> None:
    done = yard("login")
    assert done.returncode == 2
    assert "--token-stdin" in done.stderr


def test_the_environment_wins_over_the_stored_login(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert client.find_login(environ) == client.Login(url=client.DEFAULT_URL, token=None)
    client.login_path(environ).parent.mkdir()
    client.login_path(environ).write_text(json.dumps({"url": "http://stored:1", "token": "kept"}))
    assert client.find_login(environ).token_from == "login"
    found = client.find_login({**environ, "MODELYARD_TOKEN": "given"})
    assert (found.url, found.token) == ("http://stored:1", "given")


def test_a_stored_token_is_not_sent_to_another_yard(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "MODELYARD_URL": "http://other:2"}
    client.login_path(environ).parent.mkdir()
    client.login_path(environ).write_text(json.dumps({"url": "http://stored:1", "token": "kept"}))
    found = client.find_login(environ)
    assert (found.url, found.token) == ("http://other:2", None)
    with pytest.raises(UsageError, match="you are not logged in to http://other:2"):
        _ = found.required_token


def test_a_stored_login_that_is_broken_says_so(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    client.login_path(environ).parent.mkdir()
    client.login_path(environ).write_text("{")
    with pytest.raises(UsageError, match="cannot be read") as caught:
        client.find_login(environ)
    assert caught.value.hint == "log in again: yard login"
