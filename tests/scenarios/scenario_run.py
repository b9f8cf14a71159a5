"""Shows a scenario on a target: does its steps in order, and compares what is seen with what is expected."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import scenario_match as match
import scenario_text
import yard_process
from receiver import Received, Receiver
from scenario_client import Call, free_port, pause
from scenario_expect import WORDS, Seen
from scenario_match import Mismatch
from scenario_server import OURS, Server, Target, yard_serve
from scenario_sink import Answers
from scenario_text import Line, Scenario, ScenarioError, Step

PATIENCE = 20.0
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# Words that say what is asked, and not what is expected.
ASKING = ("with", "body", "stdin", "port")


_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*=")


class Failed(AssertionError):
    """A line of a scenario that does not hold."""


class Show:
    """One showing of a scenario."""

    def __init__(self, scenario: Scenario, target: Target, scratch: Path, home: Path) -> None:
        self._scenario = scenario
        self._target = target
        self._scratch = scratch
        self._home = home
        self._folder = scratch / "model"
        self._folder.mkdir()
        self._calls: dict[str, Call] = {}
        self._answers = Answers()
        self._sink = Receiver(self._answers)
        self._server: Server | None = None
        self._values = {
            "SINK": self._sink.url, "DIR": str(self._folder), "TMP": str(scratch / "tmp"),
            "DEAD": f"http://127.0.0.1:{free_port()}", "PYTHON": f"{sys.version_info[0]}.{sys.version_info[1]}",
        }  # fmt: skip
        self._own_lines_failed = 0
        self._own_steps = 0
        self._doing: dict[str, Callable[[Step], None]] = {
            "serve": self._serve, "start": self._start, "launch": self._launch, "yard-serve": self._serve,
            "signal": self._signal, "stopped": self._stopped, "log": self._log, "write": self._write,
            "file": self._file, "files": self._files, "begin": self._begin, "end": self._end, "seen": self._seen,
            "hangup": self._hang_up, "until": self._until, "repeat": self._repeat, "sink": self._set_sink,
            "received": self._received, "$": self._command, **dict.fromkeys(METHODS, self._request),
        }  # fmt: skip

    def run(self) -> None:
        """Does all steps. Raises Failed, with the line."""
        self._write_files()
        try:
            for step in self._scenario.steps:
                if step.line.target not in (None, self._target.name):
                    self._own_steps += 1
                    continue
                self._do(step)
            self._check_differences()
        finally:
            for call in self._calls.values():
                call.hang_up() if not call.done else None
            if self._server is not None:
                self._server.stop()
            self._sink.close()

    def _do(self, step: Step) -> None:
        doing = self._doing.get(step.line.word)
        if doing is None:
            raise ScenarioError(f"{self._scenario.path}:{step.line.number}: {step.line.word!r} is no step")
        with self._at(step.line):
            doing(step)

    @contextmanager
    def _at(self, line: Line) -> Iterator[None]:
        try:
            yield
        except Failed:
            raise
        except AssertionError as error:
            log = f"\nthe server's log:\n{self._server.trouble}" if self._server else ""
            place = f"{self._scenario.path}:{line.number}"
            raise Failed(f"{place} on {self._target.name}: {line.text[:300]}\n  {error}{log}") from None

    def _check_differences(self) -> None:
        """On the real Cog, at least one of our own lines must not hold: otherwise nothing differs any more."""
        own = self._scenario.lines("ours")
        if self._target is not OURS and own and not self._own_steps and not self._own_lines_failed:
            raise Failed(f"{self._scenario.path}: all our own lines hold on {self._target.name} as well")

    # Files ---------------------------------------------------------------------------------------------------

    def _write_files(self) -> None:
        files = dict(self._scenario.files)
        run = f'run: "{self._scenario.ref}"\n' if self._scenario.ref != "none" else ""
        train = f'train: "{self._scenario.train}"\n' if self._scenario.train else ""
        files.setdefault("cog.yaml", f'build:\n  python_version: "$PYTHON"\n{run}{train}')
        for name, text in files.items():
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("$PYTHON", self._values["PYTHON"]))

    def _write(self, step: Step) -> None:
        name, _, text = self._fill(step.line.rest).partition(" ")
        (self._folder / name).write_text(text)

    def _file(self, step: Step) -> None:
        path = self._folder / self._fill(step.line.rest)
        if any(line.word == "missing" for line in self._own(step)):
            if path.exists():
                raise Mismatch(f"{path.name} is there")
            return

        def look() -> None:
            if not path.is_file():
                raise Mismatch(f"{path.name} is not there; {sorted(one.name for one in self._folder.iterdir())}")
            self._expect(step, Seen(body=path.read_bytes()))

        _until(look)

    def _files(self, step: Step) -> None:
        """The paths of all that is below a folder, as a JSON list, until it is as expected. Folders have a slash."""
        folder = Path(self._fill(step.line.rest))

        def look() -> None:
            found = sorted(f"{path.relative_to(folder)}{'/' * path.is_dir()}" for path in folder.rglob("*"))
            self._expect(step, Seen(body=match.json.dumps(found).encode()))

        _until(look)

    # The server ----------------------------------------------------------------------------------------------

    def _serve(self, step: Step) -> None:
        self._start(step)
        assert self._server is not None
        self._server.wait_until_settled()

    def _start(self, step: Step) -> None:
        self._launch(step)
        assert self._server is not None
        self._server.wait_until_listening()

    def _launch(self, step: Step) -> None:
        command = step.line.word == "yard-serve"
        if not command and not (self._folder / ".cog").exists():
            self._write_schema()
        words = shlex.split(self._fill(step.line.rest))
        variables = dict(word.split("=", 1) for word in words if _VARIABLE.match(word))
        flags = [word for word in words if not _VARIABLE.match(word)]
        stubs = {"COG_PREDICT_TYPE_STUB": self._scenario.ref, "COG_TRAIN_TYPE_STUB": self._scenario.train}
        variables = {name: ref for name, ref in stubs.items() if ref and ref != "none"} | variables
        if self._server is not None:
            self._server.stop()
        target = yard_serve(self._home) if command else self._target
        self._server = Server(target, self._folder, flags, variables, self._scratch)
        self._values["PORT"] = str(self._server.port)

    def _write_schema(self) -> None:
        """The schema beside the model, as in an image; both servers read it there."""
        from modelyard.packaging import schema

        ref = None if self._scenario.ref == "none" else self._scenario.ref
        document = schema.read(self._folder, ref, "predict", train=self._scenario.train)
        (self._folder / ".cog").mkdir()
        (self._folder / ".cog" / "openapi_schema.json").write_text(match.json.dumps(document))

    def _signal(self, step: Step) -> None:
        assert self._server is not None
        self._server.process.send_signal(getattr(signal, f"SIG{step.line.rest}"))

    def _stopped(self, step: Step) -> None:
        assert self._server is not None
        code = self._server.process.wait(PATIENCE)
        if step.line.rest and code != int(step.line.rest):
            raise Mismatch(f"the server's exit code is {code}; wanted: {step.line.rest}")

    def _log(self, step: Step) -> None:
        server = self._server
        assert server is not None
        _until(lambda: self._expect(step, Seen(body=server.log.encode())))

    # Requests ------------------------------------------------------------------------------------------------

    def _request(self, step: Step) -> None:
        self._expect(step, self._ask(step, step.line.text))

    def _begin(self, step: Step) -> None:
        name, _, request = step.line.rest.partition(" ")
        self._calls[name] = self._call(step, request)

    def _end(self, step: Step) -> None:
        self._expect(step, self._seen_of(self._calls[step.line.rest].wait()))

    def _seen(self, step: Step) -> None:
        call = self._calls[step.line.rest]
        _until(lambda: self._expect(step, self._seen_of(call)))

    def _hang_up(self, step: Step) -> None:
        self._calls[step.line.rest].hang_up()

    def _until(self, step: Step) -> None:
        _until(lambda: self._expect(step, self._ask(step, step.line.rest)))

    def _repeat(self, step: Step) -> None:
        times, _, request = step.line.rest.partition(" ")
        for _ in range(int(times)):
            self._expect(step, self._ask(step, request))

    def _ask(self, step: Step, request: str) -> Seen:
        """A request and its reply. Cog answers 409 for a while after a reply: asked again, unless it is wanted."""
        patient = self._target is not OURS and not any(line.text == "status 409" for line in self._own(step))
        until = time.monotonic() + 3
        while True:
            call = self._call(step, request).wait()
            if call.status != 409 or not patient or time.monotonic() > until:
                return self._seen_of(call)
            pause()

    def _call(self, step: Step, request: str) -> Call:
        method, path, body = [*self._fill(request).split(" ", 2), "", ""][:3]
        lines = [line for line in self._own(step) if line.word in ASKING]
        body = next((self._fill(line.rest) for line in lines if line.word == "body"), body)
        headers = {"Content-Type": "application/json"} if body else {}
        sent = body.encode() if body else None
        for line in lines:
            if line.word == "with":
                name, _, value = self._fill(line.rest).partition(":")
                headers[name] = value.strip()
        assert self._server is not None, "serve comes first"
        headers = {name: value for name, value in headers.items() if value}
        return Call(self._server.port, method, path, sent, headers)

    def _seen_of(self, call: Call) -> Seen:
        if call.done and not call.status:
            raise Mismatch(f"no reply came: {call.error}")
        stream = call.headers.get("content-type") == "text/event-stream"
        events = call.events() if stream else []
        return Seen(status=call.status, headers=call.headers, body=call.body, events=events, values=self._values)

    # The sink ------------------------------------------------------------------------------------------------

    def _set_sink(self, step: Step) -> None:
        self._answers.set(self._fill(step.line.rest), [(line.word, self._fill(line.rest)) for line in step.lines])

    def _received(self, step: Step) -> None:
        method, _, path = self._fill(step.line.rest).rpartition(" ")

        def look() -> None:
            got = [r for r in self._sink.requests if r.path == path and method in ("", r.method)]
            for line in self._own(step):
                with self._at(line):
                    self._one(line, got)
            self._count_others(step, lambda line: self._one(line, got))

        _until(look)

    def _one(self, line: Line, got: list[Received]) -> None:
        if line.word == "times":
            if len(got) != int(line.rest):
                raise Mismatch(f"{len(got)} requests came: {[one.body[:300] for one in got]}")
            return
        if line.word == "states":
            match.compare(line.rest.split(), [one.json["status"] for one in got], "the list of states")
            return
        chosen = {"first": got[:1], "last": got[-1:], "all": got}.get(line.word)
        if chosen is None:
            chosen = got[int(line.word) - 1 :][:1]
        if not chosen:
            came = [(one.method, one.path) for one in self._sink.requests]
            raise Mismatch(f"there is no {line.word} one; the sink got: {came}")
        word, _, rest = line.rest.partition(" ")
        for one in chosen:
            WORDS[word](Seen(headers=one.headers, body=one.body, values=self._values), self._fill(rest))

    # Commands ------------------------------------------------------------------------------------------------

    def _command(self, step: Step) -> None:
        program, *arguments = shlex.split(self._fill(step.line.rest))
        assert program in ("yard", "cog"), f"{program} is neither yard nor cog"
        lines = self._own(step)
        stdin = "".join(self._fill(line.rest) for line in lines if line.word == "stdin")
        variables = dict(self._fill(line.rest).split("=", 1) for line in lines if line.word == "with")
        done = yard_process.run(
            *arguments, home=self._home, cwd=self._folder, stdin=stdin, program=program, **variables
        )
        wanted = next((int(line.rest) for line in lines if line.word == "exit"), 0)
        self._check_exit(done, wanted)
        for line in lines:
            if line.word in ("out", "err"):
                word, _, rest = line.rest.partition(" ")
                text = done.stdout if line.word == "out" else done.stderr
                with self._at(line):
                    WORDS[word](Seen(body=text.encode(), values=self._values), self._fill(rest))
            elif line.word not in (*ASKING, "exit"):
                raise ScenarioError(f"{self._scenario.path}:{line.number}: wanted out, err, exit, stdin or with")

    @staticmethod
    def _check_exit(done: subprocess.CompletedProcess[str], wanted: int) -> None:
        if done.returncode != wanted:
            raise Mismatch(f"exit {done.returncode}; wanted: {wanted}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}")

    # Lines ---------------------------------------------------------------------------------------------------

    def _fill(self, text: str) -> str:
        try:
            return match.fill(text, self._values)
        except KeyError as error:
            raise AssertionError(f"there is no ${error.args[0]}; there are {', '.join(self._values)}") from None

    def _own(self, step: Step) -> list[Line]:
        return [line for line in step.lines if line.target in (None, self._target.name)]

    def _expect(self, step: Step, seen: Seen) -> None:
        for line in step.lines:
            if line.word in ASKING or line.target not in (None, self._target.name):
                continue
            if line.word not in WORDS:
                raise ScenarioError(f"{self._scenario.path}:{line.number}: {line.word!r} is nothing to expect")
            with self._at(line):
                WORDS[line.word](seen, self._fill(line.rest))
        self._count_others(step, lambda line: WORDS[line.word](seen, self._fill(line.rest)))

    def _count_others(self, step: Step, check: Callable[[Line], None]) -> None:
        """On the real Cog: how many of the lines that count for ours alone do not hold there."""
        for line in step.lines if self._target is not OURS else ():
            if line.target == OURS.name and line.word not in ASKING:
                try:
                    check(line)
                except AssertionError:
                    self._own_lines_failed += 1


def _until(look: Callable[[], None]) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            look()
        except AssertionError:
            if time.monotonic() > until:
                raise
            pause()
        else:
            return


def show(path: Path, target: Target, scratch: Path, home: Path) -> None:
    """Shows the scenario of a file, as a test: what does not hold is said without the way through the code."""
    try:
        Show(scenario_text.load(path), target, scratch, home).run()
    except (Failed, ScenarioError) as error:
        pytest.fail(str(error), pytrace=False)
