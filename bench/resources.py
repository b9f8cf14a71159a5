"""Cases of cost: cold starts, memory, durable work, and memory over a million predictions."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import celery_peer
import environments
import load
import processes
import targets
from processes import Server
from session import Session
from targets import Model

FURTHER_INSTANCES = 4
SOAK_SECONDS = 10
SETTLE_SECONDS = 2.0


def cold(session: Session) -> None:
    """From nothing to the first result (W5): a server's start, and an instance's for the yard."""
    torch = environments.cog_with_torch()
    if torch is None:
        session.note("torch: no folder of PIP_FIND_LINKS has a wheel of a CPU build for this Python")
    models = [
        ("hello", targets.HELLO_SYNC, environments.COG),
        *([("torch", targets.TORCH, torch.make())] if torch else []),
    ]
    with ExitStack() as stack:
        yard = session.enter(stack, "yard", targets.yard(session.scratch, idle_seconds=0.2, name="yard cold"))
        for name, model, environment in models:
            _cold_servers(session, name, model, environment)
            if yard is not None:
                session.attempt(f"yard, {name}", partial(_cold_instance, session, yard, name, model))


def _cold_servers(session: Session, name: str, model: Model, environment: environments.Environment) -> None:
    starts = {
        "coglet": lambda: targets.coglet(model, session.scratch, environment=environment),
        "yard serve": lambda: targets.serve(model, session.scratch),
        **({"floor": lambda: targets.floor(model, session.scratch)} if name == "hello" else {}),
    }
    session.attempt("yard serve, once to make its environment", lambda: seconds_to_first_result(starts["yard serve"]))
    for _ in range(session.rounds):
        for who, start in starts.items():
            seconds = session.attempt(f"{who}, {name}", partial(seconds_to_first_result, start))
            if seconds is not None:
                session.add("cold", who, **{f"{name}_seconds": seconds})


def seconds_to_first_result(start: targets.Start) -> float:
    with start() as target:
        targets.first_result(target)
        return time.monotonic() - target.server.started_at


def _cold_instance(session: Session, server: Server, name: str, model: Model) -> None:
    target = targets.push(server, model)
    targets.first_result(target)  # a model's first run ever makes its environment, which no later start does
    for _ in range(session.rounds):
        processes.wait_until(lambda: server.workers() == 0, "the yard has scaled to zero", seconds=30)
        began = time.monotonic()
        targets.first_result(target)
        session.add("cold", "yard", **{f"{name}_seconds": time.monotonic() - began})


def memory(session: Session) -> None:
    """What idle things weigh (W6), as proportional set size."""
    for who, start in (
        ("coglet", lambda: targets.coglet(targets.HELLO_SYNC, session.scratch)),
        ("floor", lambda: targets.floor(targets.HELLO_SYNC, session.scratch)),
        ("yard serve", lambda: targets.serve(targets.HELLO_SYNC, session.scratch)),
    ):
        session.attempt(f"{who}, memory", partial(_idle_with_hello, session, who, start))
    with ExitStack() as stack:
        yard = session.enter(stack, "yard", targets.yard(session.scratch, name="yard memory"))
        if yard is not None:
            session.attempt("yard, memory", lambda: _yard_memory(session, yard))


def _idle_with_hello(session: Session, who: str, start: targets.Start) -> None:
    with start() as target:
        targets.first_result(target)
        time.sleep(SETTLE_SECONDS)
        session.add("memory", who, with_hello_mb=target.server.memory_mb())


def _yard_memory(session: Session, server: Server) -> None:
    time.sleep(SETTLE_SECONDS)
    session.add("memory", "yard", idle_mb=server.memory_mb())
    weights = []
    for number in range(FURTHER_INSTANCES + 1):
        targets.first_result(
            targets.push(server, targets.HELLO_SYNC, name=f"hello-{number}", folder=_copy(session, number))
        )
        time.sleep(SETTLE_SECONDS)
        weights.append(server.memory_mb())
        if server.workers() != number + 1:
            raise load.MeasuringError(f"{server.workers()} instances run, not {number + 1}: idle ones had to make room")
    session.add(
        "memory", "yard", with_hello_mb=weights[0], further_instance_mb=(weights[-1] - weights[0]) / FURTHER_INSTANCES
    )


def _copy(session: Session, number: int) -> Path:
    """The same model with another byte: a version, and so an instance, of its own."""
    folder = session.scratch / "copies" / str(number)
    shutil.copytree(targets.HELLO_SYNC.folder, folder, ignore=shutil.ignore_patterns(".cog", "__pycache__"))
    with (folder / "run.py").open("a") as source:
        source.write(f"\n# copy {number}\n")
    return folder


def durable(session: Session) -> None:
    """A durable task, from handing it in to having its result (W7). Each of ours stands beside what is as safe."""
    with ExitStack() as stack:
        field: dict[str, Callable[[int, int], tuple[float, float]]] = {}
        for who, flush in (("Celery on Redis", "always"), ("Celery, everysec", "everysec")):
            celery = session.enter(stack, who, celery_peer.running(session.scratch, flush=flush))
            if celery is not None:
                field[who] = celery.measure
        for who, fsync in (("yard", "power"), ("yard process", "process")):
            server = session.enter(stack, who, targets.yard(session.scratch, fsync=fsync, name=f"{who} durable"))
            target = session.attempt(f"push to {who}", partial(targets.push, server, targets.HELLO)) if server else None
            if target and session.attempt("first result", partial(targets.first_result, target)) is not None:
                field[who] = partial(_hand_in, target)
        for _ in range(session.rounds):
            for in_flight in (1, 32):
                for who, measure in field.items():
                    _add_durable(
                        session, who, in_flight, session.attempt(who, partial(measure, in_flight, session.seconds))
                    )


def _hand_in(target: targets.Target, in_flight: int, seconds: int) -> tuple[float, float]:
    seen = load.wrk(target.call, connections=in_flight, seconds=seconds, script=load.DURABLE)
    return seen.per_second, seen.p50_ms


def _add_durable(session: Session, who: str, in_flight: int, seen: tuple[float, float] | None) -> None:
    if seen is not None:
        session.add("durable", who, **{f"per_second_{in_flight}": seen[0], f"p50_ms_{in_flight}": seen[1]})


def soak(session: Session, *, predictions: int) -> None:
    """Memory through many predictions: after the first seconds of them, at the most, and after the last."""
    with targets.yard(session.scratch, name="yard soak") as server:
        target = targets.push(server, targets.HELLO)
        targets.first_result(target)
        done, weights = 0, list[float]()
        while done < predictions:
            seen = load.wrk(target.call, connections=64, seconds=SOAK_SECONDS)
            done += int(seen.per_second * SOAK_SECONDS)
            weights.append(server.memory_mb())
            print(f"  soak     {done:>9,} predictions, {weights[-1]:.1f} MB", flush=True)
        session.add(
            "soak",
            "yard",
            thousand_predictions=done / 1e3,
            first_mb=weights[0],
            most_mb=max(weights),
            last_mb=weights[-1],
            last_by_first=weights[-1] / weights[0],
        )


def profile(session: Session) -> list[str]:
    """Where the yard's process spends its time under load: the share of samples by the module that was running."""
    environment = environments.PROFILER.make()
    with targets.yard(session.scratch, name="yard profiled") as server:
        target = targets.push(server, targets.HELLO)
        targets.first_result(target)
        raw = session.scratch / "profile.txt"
        # Only threads that hold the interpreter's lock: a thread that waits for work would count as busy otherwise.
        spy_command = [
            str(environment.folder / "bin" / "py-spy"),
            "record",
            "--gil",
            "-d",
            "5",
            "-r",
            "500",
            "-f",
            "raw",
        ]
        spy_command += ["-o", str(raw), "-p", str(server.process.pid)]
        with subprocess.Popen(spy_command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as spy:
            load.wrk(target.call, connections=16, seconds=7)
            spy.wait()
        return raw.read_text().splitlines()
