"""Measure us beside our peers, on this machine, in one run, and write RESULTS.md.

python bench/run.py                      every case, three rounds of three seconds
python bench/run.py hello durable        some of them (nothing is written, unless --write)
python bench/run.py --quick              one round of one second: does everything run?
python bench/run.py soak --predictions 1000000   (or with all the others by name, and --write)
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import commands
import containers
import environments
import images
import paint
import projects
import report
import resources
import throughput
from figures import Figures, claims
from session import Session

HERE = Path(__file__).resolve().parent
CASES: dict[str, Callable[[Session], None]] = {
    "hello": throughput.hello,
    "sleep": throughput.sleep,
    "tokens": throughput.tokens,
    "paced": throughput.paced,
    "cold": resources.cold,
    "memory": resources.memory,
    "durable": resources.durable,
    "schema": lambda session: session.attempt("schema", lambda: projects.schema(session)),
    "run": projects.run,
    "picture": projects.picture,
    "commands": lambda session: session.attempt("commands", lambda: commands.commands(session)),
    "images": images.build,
    "pushes": images.push,
    "containers": containers.first,
    "versions": containers.versions,
    "paint": lambda session: session.attempt("paint", lambda: paint.paint(session)),
}


def main() -> int:
    arguments = _arguments()
    if shutil.which("wrk") is None:
        print(
            "error: wrk, the load generator, is not here\nhint: apt-get install --no-install-recommends wrk",
            file=sys.stderr,
        )
        return 2
    environments.compile_ours()
    environments.COG.make()
    environments.FASTAPI.make()
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="yard-bench-") as scratch:
        session = Session(
            rounds=1 if arguments.quick else arguments.rounds,
            seconds=1 if arguments.quick else arguments.seconds,
            scratch=Path(scratch),
            figures=figures,
        )
        for name in arguments.cases or CASES:
            _run(session, name, arguments.predictions)
        whole = arguments.write or not arguments.cases
        profile = session.attempt("profile", lambda: resources.profile(session)) or [] if whole else []
    text = report.render(figures, rounds=session.rounds, seconds=session.seconds, profile=profile)
    if whole and (arguments.write or not arguments.quick):
        (HERE / "RESULTS.md").write_text(text)
        print(f"written: {HERE / 'RESULTS.md'}")
    if arguments.json:
        print(json.dumps({f"{k.case}/{k.who}/{k.what}": values for k, values in figures.samples.items()}))
    _tell(figures)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)}, soak (default: all but soak)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="length of one measurement")
    parser.add_argument("--quick", action="store_true", help="one round of one second")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md also after some cases alone")
    parser.add_argument("--json", action="store_true", help="print every sample as JSON")
    parser.add_argument("--predictions", type=int, default=1_000_000, help="how many the soak makes")
    arguments = parser.parse_args()
    unknown = set(arguments.cases) - {*CASES, "soak"}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return arguments


def _run(session: Session, name: str, predictions: int) -> None:
    print(f"== {name}", flush=True)
    began_at = time.monotonic()
    if name == "soak":
        session.attempt("soak", lambda: resources.soak(session, predictions=predictions))
    else:
        CASES[name](session)
    print(f"   {time.monotonic() - began_at:.0f} s", flush=True)


def _tell(figures: Figures) -> None:
    for claim in claims():
        value = claim.measured(figures)
        if value is not None:
            sign = ">=" if claim.at_least else "<="
            mark = "ok " if claim.holds(figures) else "NOT"
            print(f"{mark} {claim.text}: {value:.3g}{claim.unit} (wanted {sign} {claim.factor:g})")


if __name__ == "__main__":
    sys.exit(main())
