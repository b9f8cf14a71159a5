"""The commands of every day against a real yard with models that run, print, fail and take their time."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yard_process
from test_cli_terminal import Screen
from yard_process import YARD, Server, environment

NOBODY = "0" * 26
TALKS = """
import time
from cog import BaseRunner, Input

class Runner(BaseRunner):
    def setup(self):
        print("warming up")
    def run(self, steps: int = Input(description="How many", default=1), pause: float = 0.0, fail: bool = False) -> str:
        \"\"\"Talks.\"\"\"
        for step in range(steps):
            print("step", step, flush=True)
            time.sleep(pause)
        if fail:
            raise ValueError("no more words\\nand none after")
        return "said it"
"""
BREAKS = """
from cog import BaseRunner

class Runner(BaseRunner):
    def setup(self):
        print("opening weights.bin")
        open("weights.bin")
    def run(self) -> str:
        return ""
"""


HUMS = """
import threading, time
from cog import BaseRunner

def hum():
    while True:
        time.sleep(0.1)
        print("hum", flush=True)

class Runner(BaseRunner):
    def setup(self):
        print("warming up")
        threading.Thread(target=hum, daemon=True).start()
    def run(self) -> str:
        print("between")
        return "hm"
"""


class Daily:
    """A yard, and somebody at a shell who is logged in to it."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.variables = {"MODELYARD_URL": server.url, "MODELYARD_TOKEN": server.token}
        self.http = httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {server.token}"}, timeout=60)

    def run(self, *arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        return yard_process.run(
            *arguments, home=self.folder, cwd=self.folder, stdin=stdin, **{**self.variables, **variables}
        )

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def push(self, name: str, source: str) -> None:
        project = self.folder / name
        project.mkdir()
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        (project / "cog.yaml").write_text(f'build:\n  python_version: "{python}"\nrun: "run.py:Runner"\n')
        (project / "run.py").write_text(source)
        done = yard_process.run("push", f"yard/{name}", home=self.folder, cwd=project, **self.variables)
        assert done.returncode == 0, done.stderr

    def predict(self, model: str = "talks", *, wait: bool = True, **values: Any) -> dict[str, Any]:
        reply = self.http.post(
            f"/v1/models/yard/{model}/predictions",
            json={"input": values},
            headers={"prefer": "wait=60"} if wait else {},
        )
        assert reply.status_code == 201, reply.text
        return dict(reply.json())

    def until(self, prediction: str, status: str) -> dict[str, Any]:
        deadline = time.monotonic() + 30
        while (shown := dict(self.http.get(f"/v1/predictions/{prediction}").json()))["status"] != status:
            assert time.monotonic() < deadline, shown
            time.sleep(0.05)
        return shown

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [YARD, *arguments],
            cwd=self.folder,
            env={**environment(self.folder), **self.variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def daily(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daily]:
    folder = tmp_path_factory.mktemp("daily")
    with yard_process.up(folder) as server:
        found = Daily(server, folder)
        found.push("talks", TALKS)
        found.push("breaks", BREAKS)
        found.push("hums", HUMS)
        yield found
        found.http.close()


def at_terminal(daily: Daily, *arguments: str, columns: int = 80) -> str:
    """What a person sees, without colours."""
    screen = Screen(
        *arguments, cwd=daily.folder, home=daily.folder, columns=columns, **{**daily.variables, "NO_COLOR": "1"}
    )
    shown = screen.until()
    screen.close()
    return shown


# Instances


def test_ps_shows_what_runs_and_what_it_holds(daily: Daily) -> None:
    made = daily.predict(wait=False, steps=100, pause=0.2)
    daily.until(made["id"], "processing")
    (instance,) = [one for one in daily.json("ps") if made["id"] in one["running"]]
    assert (instance["model"], instance["state"]) == ("yard/talks", "busy")
    lines = daily.run("ps").stdout.splitlines()
    assert lines[0].split() == ["INSTANCE", "MODEL", "STATE", "SINCE", "HOLDS"]
    place = next(number for number, line in enumerate(lines) if line.startswith(instance["id"]))
    assert f"yard/talks:{instance['version'][:8]}" in lines[place]
    assert "1 cpu, " in lines[place]
    assert lines[place + 1] == f"  runs {made['id']}"
    daily.run("predictions", "cancel", made["id"])


def test_an_instance_that_failed_is_shown_with_the_reason_and_its_log_says_more(daily: Daily) -> None:
    failed = daily.predict("breaks")
    assert failed["status"] == "failed"
    said = "Setup failed: FileNotFoundError"
    deadline = time.monotonic() + 20
    while not (found := [one for one in daily.json("ps", "--ended") if (one["error"] or "").startswith(said)]):
        assert time.monotonic() < deadline, "an instance ends a moment after its setup has failed"
    instance = found[0]
    assert (instance["model"], instance["state"], instance["running"]) == ("yard/breaks", "failed", [])
    assert f"  {said}" in daily.run("ps", "--ended").stdout
    log = daily.run("logs", instance["id"])
    assert "opening weights.bin\nTraceback" in log.stdout
    assert re.search(rf"\[20\S+Z\] failed: {said}", log.stdout)
    assert daily.run("logs", "-n", "1", instance["id"]).stdout.count("\n") == 1
    followed = daily.run("logs", "-f", instance["id"])
    assert (followed.returncode, followed.stdout) == (0, log.stdout)


def test_what_is_printed_between_predictions_is_in_the_log_of_the_instance_alone(daily: Daily) -> None:
    made = daily.predict("hums")
    (instance,) = [one for one in daily.json("ps") if one["model"] == "yard/hums"]
    with daily.started("logs", "-f", instance["id"]) as process:
        assert process.stdout is not None
        heard = [process.stdout.readline() for _ in range(8)]
    assert heard.count("hum\n") > 2
    assert heard[1].startswith("Unpacking") or "warming up\n" in heard
    assert "hum" not in made["logs"]
    assert daily.run("logs", made["id"]).stdout == "between\n"


def test_tables_fit_the_terminal_and_ids_stay_whole(daily: Daily) -> None:
    made = daily.predict(fail=True)
    for arguments in (("predictions",), ("ps", "-a"), ("models",), ("status",)):
        too_long = [line for line in at_terminal(daily, *arguments, columns=80).splitlines() if len(line) > 80]
        assert not [line for line in too_long if not line.startswith(("data ", "yard "))], "only paths are left whole"
    assert made["id"] in at_terminal(daily, "predictions", columns=60)
    assert "…" not in daily.run("predictions").stdout


# Logs


def test_a_predictions_log_is_shown_whole_or_its_end(daily: Daily) -> None:
    made = daily.predict(steps=3)
    assert daily.run("logs", made["id"]).stdout == "step 0\nstep 1\nstep 2\n"
    assert daily.run("logs", "-n", "1", made["id"]).stdout == "step 2\n"
    assert daily.run("logs", "--lines=0", made["id"]).stdout == ""
    (piece,) = daily.run("logs", "--json", made["id"]).stdout.splitlines()
    assert json.loads(piece) == {
        "source": "prediction",
        "id": made["id"],
        "model": "yard/talks",
        "text": "step 0\nstep 1\nstep 2\n",
    }


@pytest.mark.parametrize("follow", [(), ("--follow",)])
def test_the_log_of_a_failure_ends_with_the_error_and_a_status(daily: Daily, follow: tuple[str, ...]) -> None:
    made = daily.predict(steps=1, fail=True)
    done = daily.run("logs", *follow, made["id"])
    assert done.returncode == 1
    assert done.stdout.startswith("step 0\nTraceback")
    assert done.stderr == "error: it failed: ValueError: no more words\nand none after\n"


def test_a_log_is_followed_to_the_end_from_its_last_lines_on(daily: Daily) -> None:
    made = daily.predict(wait=False, steps=8, pause=0.2)
    daily.until(made["id"], "processing")
    done = daily.run("logs", "-f", "-n", "1", made["id"])
    assert (done.returncode, done.stderr) == (0, "")
    steps = [int(line.removeprefix("step ")) for line in done.stdout.splitlines()]
    assert steps == list(range(steps[0], 8)), "no line is missing and none comes twice"


def test_a_models_logs_come_with_titles(daily: Daily) -> None:
    made = daily.predict(steps=2)
    shown = daily.run("logs", "-n", "1", "yard/talks").stdout
    assert f"==> prediction {made['id']}, yard/talks <==\nstep 1\n" in shown
    assert re.search(r"==> instance \w{26}, yard/talks <==\n", shown)
    assert "yard/breaks" not in shown


def test_following_a_model_shows_what_begins_meanwhile(daily: Daily) -> None:
    with daily.started("logs", "-f", "-n", "0", "yard/talks") as process:
        assert process.stdout is not None
        time.sleep(1.0)
        made = daily.predict(wait=False, steps=5, pause=0.3)
        seen = ""
        while f"{made['id']} | step 4\n" not in seen:
            seen += process.stdout.readline()
        # One that was over before anybody looked is told whole too.
        quick = daily.predict(steps=2)
        while f"{quick['id']} | step 1\n" not in seen:
            seen += process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
    assert f"==> prediction {made['id']}, yard/talks <==\n" in seen
    assert all(f"{made['id']} | step {number}\n" in seen for number in range(5))
    assert f"{quick['id']} | step 0\n" in seen
    assert process.returncode == 130
    assert "Traceback" not in said


def test_following_ends_when_nobody_reads_any_more(daily: Daily) -> None:
    made = daily.predict(wait=False, steps=2, pause=60)
    daily.until(made["id"], "processing")
    program = f"{YARD} logs -f {made['id']} | head -n 1"
    done = subprocess.run(
        ["bash", "-c", program],
        env={**environment(daily.folder), **daily.variables},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.stdout, done.stderr) == ("step 0\n", "")
    daily.run("predictions", "cancel", made["id"])


@pytest.mark.parametrize("program", ["predictions", "logs", "ps -a", "status", "models"])
def test_a_list_that_nobody_reads_to_its_end_is_no_failure_of_words(daily: Daily, program: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{YARD} {program} | true"],
        env={**environment(daily.folder), **daily.variables},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.stderr == ""


# The yard


def test_status_says_how_the_yard_is_in_words_and_in_its_exit_status(daily: Daily) -> None:
    done = daily.run("status")
    assert done.returncode == 0, done.stderr
    facts = dict(re.findall(r"^(\w+) +(\S.*)$", done.stdout, re.MULTILINE))
    assert facts["yard"] == daily.server.url
    assert facts["status"].startswith("ready, up for ")
    assert facts["models"] == "3, with 3 versions"
    assert " free (" in facts["disk"]
    assert facts["data"] == str(daily.folder / "data")
    assert daily.json("status")["status"] == "ready"


def test_a_yard_that_is_down_is_said_to_be_with_the_next_step(daily: Daily) -> None:
    nowhere = {"MODELYARD_URL": "http://127.0.0.1:9"}
    for arguments in (("ps",), ("status",), ("logs",), ("predictions",), ("models",), ("versions", "yard/talks")):
        done = daily.run(*arguments, **nowhere)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(
            "error: no yard answers at http://127.0.0.1:9: Connection refused\nhint: start one"
        )
    unreachable = daily.run("status", "--json", **nowhere)
    assert (unreachable.returncode, json.loads(unreachable.stdout)["status"]) == (1, "unreachable")


def test_what_answers_there_and_is_no_yard_is_said_to_be_none(daily: Daily, tmp_path: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"], cwd=tmp_path, stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        port = re.search(rb"port (\d+)", server.stdout.readline())
        assert port
        done = daily.run("ps", MODELYARD_URL=f"http://127.0.0.1:{int(port[1])}")
    finally:
        server.kill()
        server.communicate()
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")


def test_without_a_token_the_way_to_log_in_is_said(daily: Daily) -> None:
    for token in ("", "r8_" + "w" * 37, "r8 with\na break"):
        done = daily.run("ps", MODELYARD_TOKEN=token)
        assert done.returncode in (1, 2)
        assert "hint: log in with `yard login`" in done.stderr


def test_watching_shows_it_again_until_ctrl_c(daily: Daily) -> None:
    screen = Screen("ps", "--watch", cwd=daily.folder, home=daily.folder, **daily.variables)
    screen.until("\x1b[J")
    screen.shown = ""
    again = screen.until("\x1b[J")
    screen.process.send_signal(signal.SIGINT)
    screen.close()
    assert "INSTANCE" in again or "Nothing runs" in again
    assert screen.process.returncode == 130
    with daily.started("predictions", "--watch", "--json") as process:
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline()) for _ in range(2)]


# Predictions


def test_predictions_are_listed_by_what_narrows_them(daily: Daily) -> None:
    good, bad = daily.predict(), daily.predict(fail=True)
    listed = [one["id"] for one in daily.json("predictions", "--since", "1h", "-m", "yard/talks")]
    assert listed[:2] == [bad["id"], good["id"]]
    assert [one["id"] for one in daily.json("predictions", "list", "--status", "failed", "-n", "1")] == [bad["id"]]
    assert daily.json("predictions", "--until", "1h") == []
    assert daily.run("predictions", "--until", "1h").stdout == "There are no such predictions.\n"
    lines = daily.run("predictions", "-n", "1").stdout.splitlines()
    assert lines[1].split()[:3] == [bad["id"], f"yard/talks:{bad['version'][:8]}", "failed"]
    assert lines[2] == "  ValueError: no more words"


def test_a_list_goes_over_as_many_pages_as_are_wanted(daily: Daily) -> None:
    for _ in range(104):
        daily.http.post("/v1/models/yard/talks/predictions", json={"input": {"steps": 0}})
    found = daily.json("predictions", "-n", "103", "-m", "yard/talks")
    assert len({one["id"] for one in found}) == 103
    daily.until(found[0]["id"], "succeeded")


def test_a_prediction_is_shown_with_all_that_is_known_of_it(daily: Daily) -> None:
    made = daily.predict(steps=30, fail=True)
    shown = daily.run("predictions", "show", made["id"]).stdout
    for part in (made["id"], "yard/talks", made["version"], "failed", "ValueError: no more words", '"steps": 30'):
        assert part in shown
    assert f"all: yard logs {made['id']}" in shown
    assert daily.json("predictions", "show", made["id"]) == daily.http.get(f"/v1/predictions/{made['id']}").json()


def test_predictions_are_canceled_and_deleted(daily: Daily) -> None:
    made = daily.predict(wait=False, steps=100, pause=0.2)
    daily.until(made["id"], "processing")
    refused = daily.run("predictions", "delete", "--yes", made["id"])
    assert refused.returncode == 1
    assert "only one that has ended can be deleted" in refused.stderr
    assert f"hint: yard predictions cancel {made['id']}" in refused.stderr
    assert made["id"] in daily.run("predictions", "cancel", made["id"]).stdout
    daily.until(made["id"], "canceled")
    done = daily.run("predictions", "delete", "--yes", NOBODY, made["id"])
    assert (done.returncode, done.stdout) == (1, f"{made['id']} is deleted\n")
    assert done.stderr.startswith(f"error: there is no prediction {NOBODY}\n")
    assert daily.run("predictions", "show", made["id"]).returncode == 1


def test_nothing_is_deleted_without_being_asked_for(daily: Daily) -> None:
    made = daily.predict()
    refused = daily.run("predictions", "delete", made["id"])
    assert refused.returncode == 2
    assert "There is no terminal to ask on.\nhint: --yes says so" in refused.stderr
    for answer, left in (("n\n", 200), ("y\n", 404)):
        screen = Screen("predictions", "delete", made["id"], cwd=daily.folder, home=daily.folder, **daily.variables)
        screen.until("[y/N]")
        screen.type(answer)
        screen.until()
        screen.close()
        assert daily.http.get(f"/v1/predictions/{made['id']}").status_code == left


# Models and versions


def test_models_and_versions_are_listed_and_shown(daily: Daily) -> None:
    assert {one["name"] for one in daily.json("models")} == {"talks", "breaks", "hums"}
    assert re.search(r"^yard/talks +[\d,]+  [0-9a-f]{12} ", daily.run("models").stdout, re.MULTILINE)
    model = daily.run("models", "show", "yard/talks").stdout
    assert re.search(r"^steps +integer +1 +How many$", model, re.MULTILINE)
    assert re.search(r"^fail +boolean +false$", model, re.MULTILINE)
    (version,) = daily.json("versions", "yard/talks")
    assert version["id"] in daily.run("versions", "list", "yard/talks").stdout
    for spelling in (version["id"], version["id"][:8]):
        assert version["id"] in daily.run("versions", "show", f"yard/talks:{spelling}").stdout


def test_a_model_is_deleted_with_its_versions_when_that_is_said(daily: Daily) -> None:
    daily.push("goes", TALKS.replace("Talks.", "Goes."))
    refused = daily.run("models", "delete", "yard/goes", "--yes")
    assert (refused.returncode, refused.stderr) == (
        2,
        "error: yard/goes has 1 version\nhint: yard models delete yard/goes --with-versions\n",
    )
    assert daily.run("models", "delete", "yard/goes", "--with-versions", "--yes").stdout == "yard/goes is deleted\n"
    assert daily.run("models", "show", "yard/goes").returncode == 1


def test_a_version_is_deleted(daily: Daily) -> None:
    daily.push("older", TALKS)
    (version,) = daily.json("versions", "yard/older")
    assert daily.run("versions", "delete", f"yard/older:{version['id'][:8]}", "-y").returncode == 0
    assert "has no versions yet" in daily.run("versions", "yard/older").stdout
    daily.run("models", "delete", "yard/older", "--yes")


# A shell that completes


def completed(daily: Daily, *words: str) -> list[str]:
    """What bash offers for the last of the words."""
    typed = ["yard", *words]
    done = daily.run(COMP_WORDS=" ".join(typed), COMP_CWORD=str(len(typed) - 1), _YARD_COMPLETE="bash_complete")
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_a_shell_completes_commands_options_and_names_of_models(daily: Daily) -> None:
    assert completed(daily, "pre") == ["predictions"]
    assert completed(daily, "predictions", "") == ["list", "show", "cancel", "delete"]
    assert completed(daily, "predictions", "list", "--sta") == ["--status"]
    assert completed(daily, "predictions", "list", "--status", "f") == ["failed"]
    assert set(completed(daily, "logs", "")) == {"yard/talks", "yard/breaks", "yard/hums"}
    assert completed(daily, "models", "show", "yard/t") == ["yard/talks"]
    assert completed(daily, "versions", "yard/t") == ["yard/talks"]
    assert completed(daily, "predictions", "--lim") == ["--limit"]
    assert completed(daily, "down", "--") == ["--data", "--now", "--json", "--help"]


# The guide

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "daily.md"


def test_each_command_of_the_guide_does_what_it_says(daily: Daily) -> None:
    made = daily.predict(steps=2)
    ended = 0
    for line in re.findall(r"^\$ (yard .*)$", GUIDE.read_text(), re.MULTILINE):
        words = line.replace("01m8b9h5pkb307w3pdhsrx1k5e", made["id"]).replace("yard/greeter", "yard/talks").split()
        if words[1:] in (["down"], ["logs", "-f", "yard/talks"]):
            continue  # they have tests of their own: one ends the yard, one never ends
        done = daily.run(*words[1:])
        assert done.returncode == 0, (line, done.stderr)
        assert done.stdout.strip(), line
        ended += 1
    assert ended > 12


# What is no target


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("logs", "nothing"), 1, "there is no prediction and no instance nothing"),
        (("logs", NOBODY), 1, f"there is no prediction and no instance {NOBODY}"),
        (("logs", "../account"), 1, "There is no model ../account"),
        (("logs", "yard/none"), 1, "There is no model yard/none"),
        (("logs", "yard/"), 2, "'yard/' is no model; wanted: OWNER/NAME"),
        (("logs", "a", "b"), 2, "got unexpected extra argument (b)"),
        (("logs", "-n", "few"), 2, "'few' is not a valid integer"),
        (("predictions", "show", "../account"), 1, ""),
        (("predictions", "show"), 2, "missing argument"),
        (("predictions", "drop", NOBODY), 2, "yard predictions has no command 'drop'"),
        (("predictions", "--status", "done"), 2, "'done' is not one of 'starting'"),
        (("predictions", "--since", "yesterday"), 2, "--since is 'yesterday'; wanted: 30m, 12h, 7d"),
        (("predictions", "--since", "99999999999d"), 2, "--since is"),
        (("predictions", "--model", "yard/none"), 1, "There is no model yard/none"),
        (("predictions", "--version", "12"), 1, "64 hexadecimal digits are wanted"),
        (("models", "show", "talks"), 2, "'talks' is no model; wanted: OWNER/NAME"),
        (("models", "show", "yard/none"), 1, "There is no model yard/none"),
        (("versions",), 2, "missing argument"),
        (("versions", "show", "yard/talks"), 2, "names no version; wanted: OWNER/NAME:VERSION"),
        (("versions", "show", "yard/talks:ffffffff"), 1, "yard/talks has no version that begins with ffffffff"),
        (("versions", "show", "yard/talks:" + "f" * 64), 1, "has no such version"),
        (("ps", "--all"), 2, "no such option"),
        (("down", "--data", "/nowhere/at/all"), 1, "no yard of this machine runs on the data folder /nowhere/at/all"),
    ],
)
def test_what_names_nothing_is_said_in_words(daily: Daily, arguments: tuple[str, ...], status: int, said: str) -> None:
    done = daily.run(*arguments)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
