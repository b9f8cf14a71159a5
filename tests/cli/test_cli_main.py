"""The command's door: help, statuses, words, and what it does not load."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from yard_process import YARD, Run, environment

from modelyard.cli.main import COMMANDS

HEAVY = ("starlette", "uvicorn", "sqlalchemy", "alembic", "aiohttp", "httpx", "psycopg", "sqlite3", "rich", "ruamel")


def loaded_by(*arguments: str, **variables: str) -> set[str]:
    program = (
        "import sys\nfrom modelyard.cli.main import main\n"
        f"try:\n    main({list(arguments)!r})\nexcept SystemExit:\n    pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return set(done.stderr.split())


# What is slow to load, and what a list of a few rows therefore does without. `http.client` stands for `email` as well.
SLOW = ("click", "http.client", "email.parser", "ssl", "asyncio", "dataclasses", "inspect", "threading", "traceback")


@pytest.mark.parametrize(
    "arguments",
    [("ps",), ("status",), ("predictions", "-s", "failed"), ("models",), ("versions", "a/b"), ("logs",), ("ps", "-a")],
)
def test_commands_of_every_day_load_nothing_that_takes_long(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Their start is measured in bench/; here is its cause: who imports one of these has half the time used up."""
    loaded = loaded_by(
        *arguments, HOME=str(tmp_path), MODELYARD_URL="http://127.0.0.1:9", MODELYARD_TOKEN="r8_" + "t" * 37
    )
    assert "modelyard.cli.wire" in loaded, "it asked a yard"
    assert not loaded & {*SLOW, *HEAVY}


@pytest.mark.parametrize(
    "arguments", [("--help",), ("config",), ("up", "--help"), ("init", "--help"), ("login", "--help")]
)
def test_light_commands_load_no_heavy_library(arguments: tuple[str, ...]) -> None:
    assert not loaded_by(*arguments) & set(HEAVY)


def test_help_names_every_command_that_is_not_hidden(yard: Run) -> None:
    done = yard("--help")
    assert done.returncode == 0
    for name, entry in COMMANDS.items():
        assert entry.hidden or f"  {name} " in done.stdout


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_with_examples(name: str, yard: Run) -> None:
    done = yard(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "Examples:" in done.stdout


def test_the_version_is_printed(yard: Run) -> None:
    assert yard("--version").stdout.startswith("yard ")


def test_who_calls_it_cog_gets_the_version_of_cog_in_its_form(tmp_path: Path) -> None:
    (tmp_path / "cog").symlink_to(YARD)
    done = subprocess.run([tmp_path / "cog", "--version"], capture_output=True, text=True, timeout=30, check=True)
    assert re.fullmatch(r"cog version \d+\.\d+\.\d+ \(Modelyard .+\)\n", done.stdout)


def test_global_options_may_stand_after_the_command(yard: Run, tmp_path: Path) -> None:
    yard("init", "fresh")
    assert yard("run", "--debug", "--no-color", cwd=tmp_path / "fresh").stdout == "hello world\n"
    plain = yard("versions", "show", "a/b:x", MODELYARD_URL="http://127.0.0.1:9").stderr
    for words in (("--no-color", "versions", "show"), ("versions", "show", "--no-color", "--debug")):
        assert yard(*words, "a/b:x", MODELYARD_URL="http://127.0.0.1:9").stderr == plain


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nope",), 'error: unknown command "nope" for "yard"'),
        (("config", "--nope"), "error: no such option '--nope'"),
        (("up", "--port", "x"), "error: --port is 'x'; wanted: a whole number from 0 to 65535"),
        (("login", "a", "b"), "error: got unexpected extra argument (b)"),
        (("login", "not an address", "--token", "x"), "error: URL is 'not an address'; wanted: an address"),
        (("login", "--token-stdin"), "error: the token is empty"),
    ],
)
def test_wrong_usage_is_said_in_words_and_ends_with_2(arguments: tuple[str, ...], said: str, yard: Run) -> None:
    done = yard(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "hint:" in done.stderr or "Traceback" not in done.stderr


def test_no_arguments_show_the_help(yard: Run) -> None:
    done = yard()
    assert done.returncode == 2
    assert "Commands:" in done.stderr


def test_a_file_where_a_folder_is_wanted_is_no_traceback(yard: Run, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    done = yard("init", "taken")
    assert done.returncode == 2
    assert done.stderr.startswith("error: invalid value for '[FOLDER]': Directory 'taken' is a file\n")


def test_colour_is_for_terminals_only(yard: Run) -> None:
    assert "\x1b" not in yard("nope").stderr


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"COG_NO_COLOR": "1"}, False), ({"COG_NO_COLOR": ""}, True)],
)
def test_variables_keep_colour_from_a_terminal(variables: dict[str, str], coloured: bool, home: Path) -> None:
    ours, its = pty.openpty()
    found = {name: value for name, value in environment(home).items() if name not in ("NO_COLOR", "COG_NO_COLOR")}
    subprocess.run([YARD, "nope"], env={**found, "TERM": "xterm", **variables}, stderr=its, timeout=30, check=False)
    os.close(its)
    assert ("\x1b" in os.read(ours, 10_000).decode()) is coloured
    os.close(ours)


def test_config_shows_values_and_where_they_come_from(yard: Run, tmp_path: Path) -> None:
    (tmp_path / "yard.toml").write_text('owner = "ada"\n')
    done = yard("config", "--host", "0.0.0.0", "--json", MODELYARD_PORT="8080", MODELYARD_ADMIN_TOKEN="r8_" + "s" * 37)
    found = json.loads(done.stdout)
    assert found["host"] == {"value": "0.0.0.0", "from": "--host"}
    assert found["port"] == {"value": 8080, "from": "MODELYARD_PORT"}
    assert found["owner"] == {"value": "ada", "from": str(tmp_path / "yard.toml")}
    assert found["fsync"] == {"value": "power", "from": "default"}
    assert "sss" not in done.stdout


def test_config_shows_durations_sizes_and_lists_as_one_writes_them(yard: Run) -> None:
    given = {"MODELYARD_KEEP_OUTPUTS": "1d12h", "MODELYARD_ALLOWED_HOSTS": "a.lan,b.lan"}
    found = json.loads(yard("config", "--json", **given).stdout)
    shown = {
        name: found[name]["value"] for name in ("keep_outputs", "keep_predictions", "keep_unused", "allowed_hosts")
    }
    assert shown == {
        "keep_outputs": "1d12h",
        "keep_predictions": "forever",
        "keep_unused": "10GB",
        "allowed_hosts": "a.lan,b.lan",
    }


def test_config_is_a_table_for_people(yard: Run) -> None:
    lines = yard("config", MODELYARD_PORT="8080").stdout.splitlines()
    assert ["port", "8080", "MODELYARD_PORT"] in [line.split() for line in lines]


def test_config_shows_who_is_asked_and_who_said_so(yard: Run) -> None:
    found = json.loads(yard("config", "--json", MODELYARD_URL="http://127.0.0.1:1", MODELYARD_TOKEN="r8_secret").stdout)
    assert found["url"] == {"value": "http://127.0.0.1:1", "from": "MODELYARD_URL"}
    assert found["token"] == {"value": "(set, not shown)", "from": "MODELYARD_TOKEN"}
    nobody = yard("config").stdout.splitlines()
    assert "The yard that commands talk to:" in nobody
    assert nobody[-1].split() == ["token", "nobody", "logged", "in"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell_is_printed(shell: str, yard: Run) -> None:
    done = yard("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_YARD_COMPLETE={shell}_complete" in done.stdout
    assert yard("completion", "csh").returncode == 2


def test_a_reader_that_leaves_early_is_no_failure_of_words() -> None:
    program = f"{sys.executable} -m modelyard.cli.main config --json | true"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr
