"""Cases of load: many small predictions, many slow ones, token streams.

Everything that is compared runs at once and is measured in turn, round after round: a machine that is slower for a
minute is then slower for everybody. A server that waits for its turn takes no processor time.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import pairwise

import load
import targets
from session import Session
from targets import Model, Target

CONNECTIONS = (1, 16, 64)
LONG_STREAM = 20_000


def hello(session: Session) -> None:
    """One small prediction over HTTP (W1), and the same through the whole yard (W9)."""
    with ExitStack() as stack:
        field = {
            "coglet async": session.enter(stack, "coglet", targets.coglet(targets.HELLO, session.scratch)),
            "coglet sync": session.enter(stack, "coglet", targets.coglet(targets.HELLO_SYNC, session.scratch)),
            "floor async": session.enter(stack, "floor", targets.floor(targets.HELLO, session.scratch)),
            "floor sync": session.enter(stack, "floor", targets.floor(targets.HELLO_SYNC, session.scratch)),
            "yard serve async": session.enter(stack, "yard serve", targets.serve(targets.HELLO, session.scratch)),
            "yard serve sync": session.enter(stack, "yard serve", targets.serve(targets.HELLO_SYNC, session.scratch)),
            "yard": _on_yard(session, stack, targets.HELLO),
            "yard process": _on_yard(session, stack, targets.HELLO, fsync="process"),
        }
        _rounds(session, "hello", field, CONNECTIONS)


def sleep(session: Session) -> None:
    """Predictions that wait 50 ms each, 64 at once (W4): 1,280 a second if nothing else took time."""
    with ExitStack() as stack:
        field = {
            "coglet": session.enter(stack, "coglet", targets.coglet(targets.SLEEP, session.scratch)),
            "floor": session.enter(stack, "floor", targets.floor(targets.SLEEP, session.scratch)),
            "FastAPI": session.enter(stack, "FastAPI", targets.inline(targets.SLEEP, session.scratch)),
            "yard serve": session.enter(stack, "yard serve", targets.serve(targets.SLEEP, session.scratch)),
            "yard": _on_yard(session, stack, targets.SLEEP),
        }
        _rounds(session, "sleep", field, (64,))


def _on_yard(session: Session, stack: ExitStack, model: Model, *, fsync: str = "power") -> Target | None:
    """A model on a yard of its own, warm."""
    name = "yard" if fsync == "power" else f"yard {fsync}"
    server = session.enter(stack, name, targets.yard(session.scratch, fsync=fsync, name=f"{name} {model.name}"))
    return None if server is None else session.attempt(f"push to {name}", lambda: targets.push(server, model))


def _warm(session: Session, field: dict[str, Target | None]) -> dict[str, Target]:
    """Those that answer."""
    return {who: target for who, target in field.items() if target and _answers(session, who, target)}


def _answers(session: Session, who: str, target: Target) -> bool:
    return session.attempt(f"{who}, first result", partial(targets.first_result, target)) is not None


def _rounds(session: Session, case: str, field: dict[str, Target | None], connections: tuple[int, ...]) -> None:
    there = _warm(session, field)
    for who, target in there.items():  # caches, code paths, file systems: not part of any figure
        session.attempt(f"{who}, warm-up", partial(load.wrk, target.call, connections=16, seconds=1))
    for _ in range(session.rounds):
        for who, target in there.items():
            for count in connections:
                _measure(session, case, who, target, count)


def _measure(session: Session, case: str, who: str, target: Target, connections: int) -> None:
    seen = session.attempt(
        f"{who} at {connections} connections",
        lambda: load.wrk(target.call, connections=connections, seconds=session.seconds),
    )
    if seen is not None:
        values = {"per_second": seen.per_second, "p50_ms": seen.p50_ms, "p99_ms": seen.p99_ms}
        if seen.refused:
            values["refused_per_second"] = seen.refused / session.seconds
        session.add(case, who, **{f"{what}_{connections}": value for what, value in values.items()})


def tokens(session: Session) -> None:
    """1,000 tokens made as fast as the model can (W3): one stream, then eight at once; then eight long ones."""
    with ExitStack() as stack:
        there = _warm(session, _streamers(session, stack, targets.TOKENS))
        if "yard" in there:
            there["yard, two requests"] = replace(there["yard"], creates_first=True)
        for who, target in there.items():
            session.attempt(f"{who}, warm-up", partial(_stream, session, who, target, 1, keep=False))
        for _ in range(session.rounds):
            for who, target in there.items():
                for count in (1, 8):
                    session.attempt(f"{who}, {count} streams", partial(_stream, session, who, target, count))
                if who in ("floor", "yard serve", "yard"):
                    session.attempt(f"{who}, long streams", partial(_fairness, session, who, target))


def _streamers(session: Session, stack: ExitStack, model: Model) -> dict[str, Target | None]:
    return {
        "coglet": session.enter(stack, "coglet", targets.coglet(model, session.scratch)),
        "floor": session.enter(stack, "floor", targets.floor(model, session.scratch)),
        "yard serve": session.enter(stack, "yard serve", targets.serve(model, session.scratch)),
        "yard": _on_yard(session, stack, model),
    }


def _stream(session: Session, who: str, target: Target, count: int, *, keep: bool = True) -> None:
    """Several samples a round: a stream takes milliseconds."""
    for _ in range(3 * session.seconds):
        streams = _read_whole([target] * count)
        longest = max(stream.seconds for stream in streams)
        if keep:
            session.figures.add(
                "tokens",
                who,
                **{
                    f"tokens_per_second_{count}": sum(len(stream.tokens) for stream in streams) / longest,
                    f"first_ms_{count}": statistics.median(stream.first_seconds for stream in streams) * 1e3,
                },
            )
    print(f"  tokens   {who:18} {count} streams", flush=True)


def _fairness(session: Session, who: str, target: Target) -> None:
    """Eight long streams: how many tokens the fastest got beside the slowest, while all eight were open."""
    streams = _read_whole([target.with_input({"count": LONG_STREAM})] * 8)
    began_at = max(stream.tokens[0][0] for stream in streams)
    ended_at = min(stream.tokens[-1][0] for stream in streams)
    if ended_at <= began_at:
        raise load.MeasuringError("one stream was over before all had begun")
    got = [sum(began_at <= at <= ended_at for at, _ in stream.tokens) for stream in streams]
    session.add("tokens", who, fastest_by_slowest_8=max(got) / max(1, min(got)))


def _read_whole(field: list[Target]) -> list[load.Stream]:
    streams = load.read_streams(target.stream() for target in field)
    for stream, target in zip(streams, field, strict=True):
        if len(stream.tokens) != target.model.input["count"]:
            raise load.MeasuringError(f"{len(stream.tokens)} tokens came of {target.model.input['count']}")
    return streams


def paced(session: Session) -> None:
    """A token every 20 ms (W3): does each arrive when it is made, or are they kept back?"""
    with ExitStack() as stack:
        there = _warm(session, _streamers(session, stack, targets.PACED))
        for _ in range(session.rounds):
            for who, target in there.items():
                session.attempt(f"{who}, paced", partial(_paced, session, who, target))


def _paced(session: Session, who: str, target: Target) -> None:
    [stream] = load.read_streams([target.stream()])
    arrivals = [at for at, _ in stream.tokens]
    gaps = [(later - earlier) * 1e3 for earlier, later in pairwise(arrivals)]
    session.add(
        "paced",
        who,
        first_ms=stream.first_seconds * 1e3,
        gap_p50_ms=statistics.median(gaps),
        gap_worst_ms=max(gaps),
    )
