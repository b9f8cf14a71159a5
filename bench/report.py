"""RESULTS.md out of the figures: the promises and whether they hold, every case, the machine and its noise."""

from __future__ import annotations

import collections
import os
import platform
from datetime import date
from pathlib import Path

import psutil
from figures import Claim, Figures, claims

TITLES = {
    "hello": "One small prediction over HTTP",
    "sleep": "64 predictions of 50 ms at once (1,280 a second if nothing else took time)",
    "tokens": "1,000 tokens, made as fast as the model can",
    "paced": "A token every 20 ms",
    "cold": "Cold start, to the first result",
    "memory": "Memory of what is idle, proportional set size",
    "durable": "Durable work, from handing in to having the result",
    "schema": "The schema of a model",
    "run": "`yard run`, to its result",
    "picture": "A picture in and a picture out",
    "commands": "Commands of every day",
    "images": "An image of a project with 20 packages, into the Docker Engine",
    "pushes": "A push of an image that is there already",
    "containers": "The first prediction of a container",
    "versions": "The disk of many versions",
    "paint": "Pages in a browser",
    "soak": "Memory through many predictions",
}
ABOUT = {
    "images": """The hello-world model with 20 pinned packages, where an image without packages was built
before. `first`: the first one with them; `edit`: a line of its code changed. All packages are at hand: in uv's cache,
and for Docker as wheels in the base. The Dockerfile has the steps of one that Cog writes for such a project.""",
    "pushes": """Both push the image of the same project to one yard that has it, from the start of the command.""",
    "containers": """`yard`: from a request to its answer, with the yard running and no instance alive: a container is
made, its worker dials, the model is set up and answers. `docker run --rm IMAGE python -c …` prints one line.""",
    "versions": """The data folder of a yard on the process engine: after one version with 20 packages, numpy and scipy
that was pushed and run, and after 200 that differ in a line of code and were each pushed and run (`--quick`: 20).""",
    "sleep": """`FastAPI` has the function in its own process: no worker, no states, no cancellation, no process that
could die alone.""",
    "schema": """A model with 100 inputs, read from its source by a process that has read one before; beside it the
whole life of a Python that does nothing.""",
    "run": """`yard run` in the folder of a model whose environment is made: from the start of the command to its end,
with the result printed. `coglet`: from the start of `python -m cog.server.http` to its first right answer.""",
    "picture": """1 MB in a data URL each way, one prediction after the other over one connection. The model writes what
it was given to another file. A 409 of coglet is asked again at once.""",
    "commands": """From the start of the process to its end, on a yard with one model that has run. `yard config` asks
no yard and goes by way of the library for command lines, as help does.""",
    "paint": """What a browser that knows nothing yet gets over the wire, and the time from the first byte of the page
to its first contentful paint on a CPU slowed to a quarter: `paint_ms` in a browser that runs and keeps nothing,
`new_profile_paint_ms` in a new profile, for which the browser starts a process first. The first page shows 24
models; `one word` is a page that is nothing else, which shows what of these times is the browser's own.""",
    "hello": """`coglet`, `yard serve` and the floor answer Cog's API; `yard` is the whole way: token, checks,
durable row, queue, dispatch, result (`Prefer: wait`), with an fsync in every group commit; `yard
process` is safe from the death of any process, not from power loss. The function is a coroutine
(`async`) or plain (`sync`). A `sync` coglet has one slot and answers 409 to whom it cannot serve:
`refused_per_second`.""",
    "tokens": """Over one stream and over eight at once, from the request to the first token and to the end.
Everybody is asked by one request that creates the run and answers with its events; `yard, two requests`
creates a prediction, waits for its 201 and then opens its stream, as Replicate's clients do. Every stream is
checked to be whole. `fastest_by_slowest`: of eight streams of 20,000 tokens each, what the fastest got
beside the slowest while all eight were open.""",
    "soak": """A yard that answers 64 callers without a break. Its memory, its worker's included: after the first ten
seconds, at the most, and at the end.""",
    "paced": """The time to the first token, and the time between two tokens as they arrive.""",
    "cold": """For `coglet`, the floor and `yard serve`: from starting the server's process to its first right
answer. For `yard`: from a request to its answer, with the yard running and no instance of the model
alive.""",
    "durable": """The caller hands work in without waiting on that request, keeps 1 or 32 in flight and then
waits for each result: wrk, as for all HTTP here, and Celery's own client. Celery acknowledges late and has
two worker processes. `Celery on Redis` flushes Redis's append-only file `always` and stands beside `yard`:
both are safe from loss of power. `Celery, everysec` (Redis's default) stands beside `yard process`: both are
safe from the death of any process.""",
    "memory": """`further_instance`: what each of four more instances, each of a version of its own, adds to the
whole.""",
}
FLOOR = """## What the floor is

`bench/floor.py` and `bench/floor_child.py`: a raw ASGI app on uvicorn (uvloop, httptools) in a parent, the
model in a child process, frames over a Unix socket pair, frames that wait together sent together. It checks
nothing, keeps nothing, logs nothing, and answers only what is asked here. Whoever keeps a model in a process
of its own behind an HTTP server written in Python stands on it; the distance to it is what validation,
states, logs, cancellation and durability cost.
"""


def render(figures: Figures, *, rounds: int, seconds: int, profile: list[str]) -> str:
    parts = [
        "# Results\n",
        f"Written by `make bench` on {date.today().isoformat()}. Peers come from the package index; what is compared "
        f"runs at once on one machine and is measured in turns. Figures are medians of {rounds} rounds of {seconds} s; "
        "`±` is half the distance between the best and the worst, of many samples between their quartiles. Only right "
        "answers are counted.\n",
        _machine(),
        _promises(figures),
        *(_case(figures, case) for case in TITLES if figures.who(case)),
        FLOOR,
        _profile(profile),
        _noise(figures),
        _missing(figures),
    ]
    return "\n".join(part for part in parts if part)


def _machine() -> str:
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    memory = psutil.virtual_memory().total / 2**30
    return (
        "## Machine\n\n"
        f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}. The load generator runs on the same machine and takes its share.\n"
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def _promises(figures: Figures) -> str:
    rows = [_promise(figures, claim) for claim in claims()]
    head = "| promise | wanted | measured | holds |\n|---|---|---|---|\n"
    return "## Promises\n\n" + head + "\n".join(rows) + "\n"


def _promise(figures: Figures, claim: Claim) -> str:
    value, holds = claim.measured(figures), claim.holds(figures)
    sign = "≥" if claim.at_least else "≤"
    told = "not measured" if value is None else f"{_number(value)}{claim.unit}"
    verdict = {True: "yes", False: "**no**", None: ""}[holds]
    return f"| {claim.text} | {sign} {claim.factor:g}{claim.unit} | {told} | {verdict} |"


def _case(figures: Figures, case: str) -> str:
    columns = figures.what(case)
    head = f"| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}\n"
    rows = [
        f"| {who} | {' | '.join(_cell(figures, case, who, what) for what in columns)} |" for who in figures.who(case)
    ]
    about = f"{ABOUT[case]}\n\n" if case in ABOUT else ""
    return f"## {TITLES[case]}\n\n{about}{head}" + "\n".join(rows) + "\n"


def _cell(figures: Figures, case: str, who: str, what: str) -> str:
    value = figures.get(case, who, what)
    if value is None:
        return ""
    spread = figures.spread(case, who, what)
    return _number(value) + (f" ±{spread / 2:.0%}" if spread else "")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _profile(stacks: list[str]) -> str:
    """Shares of samples by the module at work: the innermost frame that is ours, else the outermost library's."""
    own, leaves, total = collections.Counter[str](), collections.Counter[str](), 0
    for line in stacks:
        frames, _, count = line.rpartition(" ")
        total += int(count)
        places = [frame.strip() for frame in frames.split(";")]
        own[
            next((_place(frame) for frame in reversed(places) if "modelyard" in frame), "(uvicorn and the event loop)")
        ] += int(count)
        leaves[_place(places[-1])] += int(count)
    if not total:
        return ""
    rows = [f"| {place} | {count / total:.0%} |" for place, count in own.most_common(14)]
    last = [f"| {place} | {count / total:.0%} |" for place, count in leaves.most_common(10)]
    return (
        "## Where the time goes\n\nThe yard's process under 16 connections of `hello`, sampled 500 times a second, "
        "whatever thread held the interpreter's lock.\n\n| innermost function of ours | share |\n|---|---|\n"
        + "\n".join(rows)
        + "\n\n| innermost function of all | share |\n|---|---|\n"
        + "\n".join(last)
        + "\n"
    )


def _place(frame: str) -> str:
    """`function (…/package/module.py:12)` → `package/module.py function`."""
    name, _, where = frame.partition(" (")
    path = where.rstrip(")").rsplit(":", 1)[0]
    return f"`{'/'.join(path.split('/')[-2:])}` {name}" if path else name


def _noise(figures: Figures) -> str:
    series = [("hello", "floor async", what) for what in figures.what("hello")]
    series = [key for key in series if figures.get(*key)]
    rows = [f"| {key[2]} | {_number(figures.get(*key) or 0)} | {figures.spread(*key):.0%} |" for key in series]
    if not rows:
        return ""
    head = "| floor async | median | (best − worst) ÷ median |\n|---|---|---|\n"
    text = "The floor has no state, so how far its own rounds lie apart is the machine's noise:\n\n"
    return "## Noise\n\n" + text + head + "\n".join(rows) + "\n"


def _missing(figures: Figures) -> str:
    lines = [f"- {' '.join(text.split())[:300]}" for text in dict.fromkeys(figures.missing)]
    return "## Not measured\n\n" + "\n".join(lines) + "\n" if lines else ""
