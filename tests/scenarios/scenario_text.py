"""Reads a scenario: a head, steps with what is expected of each, and files. README.md has the format."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

HERE = Path(__file__).parent
TARGETS = ("ours", "cog")
KEYS = ("on", "ref", "train", "differs")
ON = ("both", "ours")
_FILE = re.compile(r"-- (\S+) --")
_MARK = re.compile(r"\[(\w+)\] +(.*)", re.DOTALL)


class ScenarioError(Exception):
    """A scenario that is not written as it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line: `word` and the `rest` of it. `target`: the only one that it counts for; None: all."""

    number: int
    word: str
    rest: str
    target: str | None = None

    @property
    def text(self) -> str:
        """As it was written."""
        return f"{self.word} {self.rest}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something to do, and the lines below it."""

    line: Line
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A scenario. `on`: "both" where the real Cog can show it too; `differs`: why ours is not the same there."""

    path: Path
    title: str
    on: str = "ours"
    ref: str = "run.py:Runner"
    train: str | None = None
    differs: str | None = None
    steps: tuple[Step, ...] = ()
    files: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its section and its own name."""
        return f"{self.path.parent.name}/{self.path.stem}"

    def lines(self, target: str) -> list[Line]:
        """All lines, steps and expectations, that count for this target alone."""
        found = [line for step in self.steps for line in (step.line, *step.lines)]
        return [line for line in found if line.target == target]


def load(path: Path) -> Scenario:
    """The scenario in a file. Raises ScenarioError, with the line."""
    try:
        return parse(path.read_text(), path)
    except ScenarioError as error:
        raise ScenarioError(f"{path}: {error}") from None


def section(name: str) -> list[Path]:
    """The scenarios of a section, which is a folder."""
    return sorted((HERE / name).glob("*.scenario"))


def sections() -> list[str]:
    """The folders that have scenarios."""
    return sorted({path.parent.name for path in HERE.glob("*/*.scenario")})


def parse(text: str, path: Path) -> Scenario:
    """The scenario in a text. Raises ScenarioError."""
    lines = text.splitlines()
    end = next((at for at, line in enumerate(lines) if _FILE.fullmatch(line)), len(lines))
    title, values, start = _head(lines[:end])
    scenario = Scenario(
        path=path,
        title=title,
        steps=_steps(lines, start, end),
        files=_files(lines[end:]),
        **values,  # type: ignore[arg-type]
    )
    if scenario.on not in ON:
        raise ScenarioError(f"on is {scenario.on!r}; wanted: {' or '.join(ON)}")
    marked = scenario.lines("ours") or scenario.lines("cog")
    if bool(marked) != (scenario.differs is not None):
        raise ScenarioError("lines for one target alone and a sentence `differs:` go together; one of them is missing")
    if not scenario.steps:
        raise ScenarioError("it has no steps")
    return scenario


def _head(lines: list[str]) -> tuple[str, dict[str, str], int]:
    if not lines or not lines[0].startswith("# "):
        raise ScenarioError("the first line has to say what is shown, as `# …`")
    values: dict[str, str] = {}
    last = ""
    for at, line in enumerate(lines):
        if not line.strip():
            return lines[0][2:], values, at
        if line.startswith("#"):
            continue
        if line.startswith("  ") and last:
            values[last] += f" {line.strip()}"
            continue
        last, colon, value = line.partition(":")
        if not colon or last not in KEYS:
            raise ScenarioError(f"line {at + 1}: {line!r} is none of {', '.join(KEYS)} (a blank line ends the head)")
        values[last] = value.strip()
    raise ScenarioError("a blank line has to end the head")


def _steps(lines: list[str], start: int, end: int) -> tuple[Step, ...]:
    steps: list[Step] = []
    for at in range(start, end):
        line = lines[at]
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith(" "):
            steps.append(Step(line=_line(at + 1, line)))
        elif not steps:
            raise ScenarioError(f"line {at + 1}: an expectation with no step above it")
        elif line.startswith("    "):
            steps[-1] = _continued(steps[-1], line[4:])
        elif line.startswith("  "):
            steps[-1] = replace(steps[-1], lines=(*steps[-1].lines, _line(at + 1, line[2:])))
        else:
            raise ScenarioError(f"line {at + 1}: indent by two, or by four to go on with the line above")
    return tuple(steps)


def _line(number: int, text: str) -> Line:
    target = None
    marked = _MARK.fullmatch(text)
    if marked:
        target, text = marked.groups()
        if target not in TARGETS:
            raise ScenarioError(f"line {number}: [{target}] is none of {', '.join(TARGETS)}")
    word, _, rest = text.partition(" ")
    return Line(number=number, word=word, rest=rest, target=target)


def _continued(step: Step, text: str) -> Step:
    if not step.lines:
        return replace(step, line=replace(step.line, rest=f"{step.line.rest}\n{text}"))
    *before, last = step.lines
    return replace(step, lines=(*before, replace(last, rest=f"{last.rest}\n{text}")))


def _files(lines: list[str]) -> dict[str, str]:
    files: dict[str, str] = {}
    name = ""
    for line in lines:
        found = _FILE.fullmatch(line)
        if found:
            name = found[1]
            if name in files:
                raise ScenarioError(f"the file {name} comes twice")
            files[name] = ""
        else:
            files[name] += f"{line}\n"
    return {name: f"{text.strip(chr(10))}\n" for name, text in files.items()}
