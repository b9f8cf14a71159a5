"""How long the commands of every day take, beside the start of a Python that does nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import load
import targets
from session import Session

SAMPLES_A_ROUND = 20
COMMANDS = {
    "yard ps": ["ps"],
    "yard status": ["status"],
    "yard predictions": ["predictions"],
    "yard models": ["models"],
    "yard logs": ["logs"],
    "yard config": ["config"],
}


def commands(session: Session) -> None:
    """Each in turn with bare Python, on a yard with one model that has run; from the start of a process to its end."""
    with targets.yard(session.scratch, name="yard commands") as server:
        targets.first_result(targets.push(server, targets.HELLO_SYNC))
        asking = {"MODELYARD_URL": server.url, "MODELYARD_TOKEN": targets.TOKEN}
        programs = {
            "bare Python": [sys.executable, "-c", "pass"],
            **{who: [str(targets.YARD), *words] for who, words in COMMANDS.items()},
        }
        for _ in range(session.rounds * SAMPLES_A_ROUND):
            for who, program in programs.items():
                session.figures.add("commands", who, start_ms=1000 * _seconds(program, asking))
    for who in programs:
        print(f"  commands {who:18} start_ms={session.figures.get('commands', who, 'start_ms'):.4g}", flush=True)


def _seconds(program: list[str], asking: dict[str, str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(program, env={**os.environ, **asking}, capture_output=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise load.MeasuringError(f"{program} ended with {done.returncode}: {done.stderr.decode()[-300:]}")
    return seconds
