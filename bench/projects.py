"""Cases of a project on its author's machine: its schema, `yard run`, and a picture through the server of one model."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import load
import resources
import targets
from session import Session
from targets import Target

SCHEMAS_A_ROUND = 20
RUNS_A_ROUND = 3
INPUTS = (
    'str = Input(description="Text {n}", default="a", min_length=1, max_length=500)',
    'int = Input(description="Number {n}", default={n}, ge=0, le=1000)',
    "float = Input(default=1.5, ge=0.0, le=10.0)",
    "bool = Input(default=False)",
    'str = Input(choices=["a", "b", "c"], default="a")',
)


def schema(session: Session) -> None:
    """The schema of a model with 100 inputs, read from its source, beside the start of a Python that does nothing."""
    from modelyard.packaging import schema as reader

    folder = _hundred_inputs(session.scratch / "hundred")
    read = partial(reader.read, folder, "run.py:Runner", "predict")
    assert len(read()["components"]["schemas"]["Input"]["properties"]) == len(INPUTS) * 20
    for _ in range(session.rounds * SCHEMAS_A_ROUND):
        session.figures.add("schema", "schema of 100 inputs", read_ms=1000 * _seconds(read))
        session.figures.add("schema", "bare Python", start_ms=1000 * _seconds(_bare_python))
    for who, what in (("schema of 100 inputs", "read_ms"), ("bare Python", "start_ms")):
        print(f"  schema   {who:20} {what}={session.figures.get('schema', who, what):.4g}", flush=True)


def _hundred_inputs(folder: Path) -> Path:
    folder.mkdir()
    inputs = "".join(f"        input_{n}: {INPUTS[n % len(INPUTS)].format(n=n)},\n" for n in range(20 * len(INPUTS)))
    head = "from cog import BaseRunner, Input\n\n\nclass Runner(BaseRunner):\n"
    body = f"    def run(\n        self,\n{inputs}    ) -> str:\n        return input_0\n"
    (folder / "run.py").write_text(head + body)
    return folder


def _bare_python() -> None:
    subprocess.run([sys.executable, "-c", "pass"], check=True)


def _seconds(work: partial[object] | object) -> float:
    began = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - began


def run(session: Session) -> None:
    """`yard run` in the folder of a model whose environment is made, from its start to its end with the result printed;
    beside a start of the real Cog's server, to its first right answer."""
    session.attempt("yard run, once to make the environment", lambda: _yard_run(session))
    for _ in range(session.rounds * RUNS_A_ROUND):
        for who, work in (("yard run", lambda: _yard_run(session)), ("coglet", lambda: _coglet_once(session))):
            seconds = session.attempt(f"{who}, to its result", work)
            if seconds is not None:
                session.add("run", who, result_seconds=seconds)


def _yard_run(session: Session) -> float:
    environment = {**os.environ, **targets.home(session.scratch)}
    began = time.monotonic()
    command = [str(targets.YARD), "run", "-i", "text=bench"]
    done = subprocess.run(
        command, cwd=targets.HELLO_SYNC.folder, env=environment, capture_output=True, text=True, check=True
    )
    seconds = time.monotonic() - began
    if done.stdout.strip() != targets.HELLO_SYNC.want:
        raise load.MeasuringError(f"yard run printed {done.stdout!r}")
    return seconds


def _coglet_once(session: Session) -> float:
    return resources.seconds_to_first_result(lambda: targets.coglet(targets.HELLO_SYNC, session.scratch))


def picture(session: Session) -> None:
    """A picture of 1 MB in a data URL in, and one of 1 MB out, one after the other over one connection."""
    data = base64.b64encode(os.urandom(1_000_000)).decode()
    body = json.dumps({"input": {"image": f"data:image/png;base64,{data}"}}).encode()
    with ExitStack() as stack:
        field = {
            "coglet": session.enter(stack, "coglet", targets.coglet(targets.PICTURE, session.scratch)),
            "yard serve": session.enter(stack, "yard serve", targets.serve(targets.PICTURE, session.scratch)),
        }
        there = {who: target for who, target in field.items() if target}
        for keep in (False, *[True] * session.rounds):  # the first time warms up
            for who, target in there.items():
                work = partial(_pictures, target, body, data.encode(), session.seconds)
                seen = session.attempt(f"{who}, pictures", work)
                if keep and seen is not None:
                    session.add("picture", who, per_second_1=seen)


def _pictures(target: Target, body: bytes, want: bytes, seconds: int) -> float:
    connection = load.Connection(target.call.url)
    good, began = 0, time.monotonic()
    while (now := time.monotonic()) - began < seconds:
        status, reply = connection.ask("POST", "/predictions", body=body)
        if status == 409:  # coglet frees its slot a moment after its answer
            continue
        if status != 200 or want not in reply:
            raise load.MeasuringError(f"{target.server.name} answered {status}: {reply[:200]!r}")
        good += 1
    connection.close()
    return good / (now - began)
