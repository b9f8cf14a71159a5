"""Figures: what was measured, sample by sample, and what is claimed of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One series: a case (`hello`), who was measured (`coglet async`) and what (`per_second at 16`)."""

    case: str
    who: str
    what: str


@dataclass(slots=True)
class Figures:
    """Every sample of a run, and what could not be measured and why."""

    samples: dict[Key, list[float]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def add(self, case: str, who: str, **values: float) -> None:
        for what, value in values.items():
            self.samples.setdefault(Key(case=case, who=who, what=what), []).append(value)

    def get(self, case: str, who: str, what: str) -> float | None:
        """The median, or None where it was not measured."""
        values = self.samples.get(Key(case=case, who=who, what=what))
        return statistics.median(values) if values else None

    def spread(self, case: str, who: str, what: str) -> float:
        """Largest less smallest sample, as a part of the median; of eight and more, between their quartiles."""
        values = self.samples.get(Key(case=case, who=who, what=what), [0.0])
        middle = statistics.median(values)
        low, high = min(values), max(values)
        if len(values) >= 8:
            low, _, high = statistics.quantiles(values, n=4)
        return (high - low) / middle if middle else 0.0

    def who(self, case: str) -> list[str]:
        return list(dict.fromkeys(key.who for key in self.samples if key.case == case))

    def what(self, case: str) -> list[str]:
        """What was measured of a case: as it came, what was measured at fewer connections first."""
        found = dict.fromkeys(key.what for key in self.samples if key.case == case)
        return sorted(found, key=lambda what: int(tail) if (tail := what.rpartition("_")[2]).isdecimal() else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """`ours` measured is at least (or at most) `factor` times `theirs`; with no `theirs`, `factor` itself."""

    text: str
    case: str
    ours: tuple[str, str]
    theirs: tuple[str, str] | None
    at_least: bool
    factor: float
    unit: str = "×"

    def measured(self, figures: Figures) -> float | None:
        mine = figures.get(self.case, *self.ours)
        if mine is None or self.theirs is None:
            return mine
        other = figures.get(self.case, *self.theirs)
        return mine / other if other else None

    def holds(self, figures: Figures) -> bool | None:
        value = self.measured(figures)
        if value is None:
            return None
        return value >= self.factor if self.at_least else value <= self.factor


def _claim(
    case: str, text: str, ours: str, sign: str, factor: float, theirs: str | None = None, *, unit: str = "×"
) -> Claim:
    """`ours` and `theirs` are written "who: what"."""
    mine, _, what = ours.partition(": ")
    other = tuple(theirs.split(": ")) if theirs else None
    return Claim(
        text=text,
        case=case,
        ours=(mine, what),
        theirs=(other[0], other[1]) if other else None,
        at_least=sign == ">=",
        factor=factor,
        unit=unit,
    )


def claims() -> Iterator[Claim]:
    """What the project promises of its speed."""
    serve, peer, floor = "yard serve async", "coglet async", "floor async"
    yield _claim(
        "hello",
        "one model alone, 16 connections, beside coglet",
        f"{serve}: per_second_16",
        ">=",
        7,
        f"{peer}: per_second_16",
    )
    yield _claim("hello", "… beside the floor", f"{serve}: per_second_16", ">=", 0.6, f"{floor}: per_second_16")
    yield _claim(
        "hello",
        "one model alone, median latency on one connection, beside coglet",
        f"{serve}: p50_ms_1",
        "<=",
        0.5,
        f"{peer}: p50_ms_1",
    )
    yield _claim("hello", "… beside the floor", f"{serve}: p50_ms_1", "<=", 1.5, f"{floor}: p50_ms_1")
    for who, many, one, safe in (("yard", 4, 1, "power loss"), ("yard process", 5, 1.3, "any process's death")):
        yield _claim(
            "hello",
            f"the whole yard, safe from {safe}, 16 connections",
            f"{who}: per_second_16",
            ">=",
            many,
            f"{peer}: per_second_16",
        )
        yield _claim(
            "hello",
            f"the whole yard, safe from {safe}, one connection",
            f"{who}: per_second_1",
            ">=",
            one,
            f"{peer}: per_second_1",
        )
    celery = "Celery on Redis: per_second_32"
    yield _claim(
        "durable",
        "durable work nobody waits for, 32 in flight, safe from power loss",
        "yard: per_second_32",
        ">=",
        10,
        celery,
    )
    celery = "Celery, everysec: per_second_32"
    yield _claim("durable", "… safe from any process's death", "yard process: per_second_32", ">=", 10, celery)
    yield _claim(
        "tokens",
        "1,000 tokens through the whole yard, tokens/s",
        "yard: tokens_per_second_1",
        ">=",
        4,
        "coglet: tokens_per_second_1",
    )
    yield _claim("tokens", "… the first one", "yard: first_ms_1", "<=", 1, "coglet: first_ms_1")
    yield _claim(
        "tokens",
        "eight streams at once, what the fastest gets beside the slowest",
        "yard: fastest_by_slowest_8",
        "<=",
        1.5,
    )
    yield _claim(
        "tokens",
        "1,000 tokens from one model alone, tokens/s, beside coglet",
        "yard serve: tokens_per_second_1",
        ">=",
        6,
        "coglet: tokens_per_second_1",
    )
    yield _claim(
        "sleep",
        "64 at once that wait 50 ms, beside FastAPI with the function inside of it",
        "yard serve: per_second_64",
        ">=",
        0.97,
        "FastAPI: per_second_64",
    )
    yield _claim(
        "schema",
        "the schema of a model with 100 inputs, beside the start of bare Python",
        "schema of 100 inputs: read_ms",
        "<=",
        1,
        "bare Python: start_ms",
    )
    yield _claim(
        "run",
        "`yard run` to its result, beside coglet's start to its first",
        "yard run: result_seconds",
        "<=",
        1,
        "coglet: result_seconds",
    )
    yield _claim(
        "picture",
        "a picture of 1 MB in and out, beside coglet",
        "yard serve: per_second_1",
        ">=",
        1.5,
        "coglet: per_second_1",
    )
    yield _claim("paced", "a token every 20 ms, the first one", "yard: first_ms", "<=", 30, unit=" ms")
    yield _claim("paced", "… the longest wait for the next", "yard: gap_worst_ms", "<=", 30, unit=" ms")
    yield _claim(
        "cold",
        "hello from nothing to a result, beside coglet's start",
        "yard: hello_seconds",
        "<=",
        0.5,
        "coglet: hello_seconds",
    )
    yield _claim(
        "commands",
        "`yard ps`, from its start to its end, beside the start of bare Python",
        "yard ps: start_ms",
        "<=",
        5,
        "bare Python: start_ms",
    )
    for who in ("yard status", "yard predictions", "yard models", "yard logs"):
        yield _claim("commands", f"… `{who}`", f"{who}: start_ms", "<=", 5, "bare Python: start_ms")
    yield from _of_images()
    page = "first page"
    yield _claim("paint", "the first page of a yard, over the wire", f"{page}: kilobytes", "<=", 100, unit=" kB")
    yield _claim("paint", "… its scripts", f"{page}: script_kilobytes", "<=", 40, unit=" kB")
    yield _claim(
        "paint",
        "… painted after its first byte, on a CPU slowed to a quarter",
        f"{page}: paint_ms",
        "<=",
        200,
        unit=" ms",
    )
    yield _claim("memory", "an idle yard", "yard: idle_mb", "<=", 120, unit=" MB")
    yield _claim("memory", "each further idle instance of hello", "yard: further_instance_mb", "<=", 20, unit=" MB")
    yield _claim(
        "soak", "memory after a million predictions beside that after the first", "yard: last_by_first", "<=", 1.25
    )


def _of_images() -> Iterator[Claim]:
    """What is promised of images, containers and versions."""
    ours, peer = "yard build", "docker build"
    text = "the first image of a project with 20 packages: `docker build` beside `yard build`"
    yield _claim("images", text, f"{peer}: first_seconds", ">=", 2, f"{ours}: first_seconds")
    yield _claim(
        "images", "… the image after a change of its code", f"{peer}: edit_seconds", ">=", 10, f"{ours}: edit_seconds"
    )
    yield _claim(
        "pushes",
        "`yard push` of what the yard has, beside `docker push`",
        "yard push: unchanged_seconds",
        "<=",
        0.5,
        "docker push: unchanged_seconds",
    )
    yield _claim(
        "containers",
        "the first prediction of a container, beside `docker run` of its image that prints a line",
        "yard: first_seconds",
        "<=",
        1.5,
        "docker run: first_seconds",
    )
    yield _claim("versions", "the disk of 200 versions beside that of one", "yard: all_mb", "<=", 1.2, "yard: one_mb")
