"""`yard secrets` as a process, against a real yard."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import httpx
import pytest
from test_cli_terminal import Screen
from yard_process import Run, Server

VALUE = "sk-tell-nobody"


_numbers = itertools.count(1)


@pytest.fixture
def model(server: Server) -> str:
    name = f"has-secrets-{next(_numbers)}"
    body = {"owner": "yard", "name": name, "visibility": "private", "hardware": "cpu"}
    reply = httpx.post(f"{server.url}/v1/models", json=body, headers={"authorization": f"Bearer {server.token}"})
    assert reply.status_code == 201, reply.text
    return f"yard/{name}"


@pytest.fixture
def mine(yard: Run, server: Server) -> Run:
    """The command, logged in."""

    def run(*arguments: str, **more: str) -> object:
        return yard(*arguments, MODELYARD_URL=server.url, MODELYARD_TOKEN=server.token, **more)

    return run  # type: ignore[return-value]


def test_a_secret_is_set_from_stdin_or_a_file_listed_and_deleted(mine: Run, model: str, tmp_path: Path) -> None:
    empty = mine("secrets", model)
    assert (empty.returncode, "has no secrets" in empty.stdout) == (0, True)
    done = mine("secrets", "set", model, "API_KEY", stdin=VALUE + "\n")
    assert done.returncode == 0, done.stderr
    assert VALUE not in done.stdout + done.stderr
    (tmp_path / "account.json").write_text('{"key": "tell-nobody"}\n')
    kept = json.loads(mine("secrets", "set", model, "ACCOUNT", "--file", "account.json", "--json").stdout)
    assert (kept["model"], kept["name"]) == (model, "ACCOUNT")
    shown = mine("secrets", "list", model)
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["NAME", "ACCOUNT", "API_KEY"]
    listed = mine("secrets", model, "--json").stdout
    assert [one["name"] for one in json.loads(listed)] == ["ACCOUNT", "API_KEY"]
    assert "tell-nobody" not in shown.stdout + listed
    unsure = mine("secrets", "delete", model, "API_KEY")
    assert (unsure.returncode, "--yes" in unsure.stderr) == (2, True)
    assert mine("secrets", "delete", model, "API_KEY", "--yes").stdout == f"API_KEY of {model} is deleted\n"
    gone = mine("secrets", "delete", model, "API_KEY", "--yes")
    assert (gone.returncode, "no secret API_KEY" in gone.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (("API_KEY",), "", "holds no value"),
        (("API_KEY",), "\n", "holds no value"),
        (("API_KEY=sk-tell-nobody",), "", "does not belong on the command line"),
        (("PATH",), VALUE, "cannot be the name of a secret: the yard sets it itself"),
        (("A-B",), VALUE, "letters, digits and '_'"),
        (("API_KEY", "--file", "missing"), "", "missing cannot be read"),
        (("API_KEY", "--file", "bytes"), "", "not text in UTF-8"),
    ],
)
def test_what_cannot_be_set_is_told_with_a_next_step_and_no_value(
    mine: Run, model: str, tmp_path: Path, arguments: tuple[str, ...], stdin: str, said: str
) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    failed = mine("secrets", "set", model, *arguments, stdin=stdin)
    assert failed.returncode in (1, 2)
    assert said in failed.stderr
    assert "Traceback" not in failed.stderr
    assert VALUE not in failed.stderr


def test_a_model_that_is_not_there_is_told(mine: Run) -> None:
    failed = mine("secrets", "set", "yard/nowhere", "API_KEY", stdin=VALUE)
    assert (failed.returncode, "no model yard/nowhere" in failed.stderr) == (1, True)
    wrong = mine("secrets", "set", "nowhere", "API_KEY", stdin=VALUE)
    assert (wrong.returncode, "OWNER/NAME" in wrong.stderr) == (2, True)


def test_on_a_terminal_the_value_is_asked_for_and_not_shown(
    server: Server, model: str, tmp_path: Path, home: Path
) -> None:
    variables = {"MODELYARD_URL": server.url, "MODELYARD_TOKEN": server.token}
    screen = Screen("secrets", "set", model, "API_KEY", cwd=tmp_path, home=home, **variables)
    screen.until("Value of API_KEY")
    screen.type(VALUE + "\n")
    shown = screen.until()
    screen.close()
    assert f"API_KEY of {model} is set" in shown
    assert VALUE not in shown


def test_only_one_line_end_is_dropped(server: Server, mine: Run, model: str) -> None:
    for stdin in ("a-value\n\n", "a-value\r\n", " a-value "):
        assert mine("secrets", "set", model, "API_KEY", stdin=stdin).returncode == 0
