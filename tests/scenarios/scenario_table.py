"""Where the real Cog and we differ: `python tests/scenarios/scenario_table.py` writes DIFFERENCES.md anew."""

from __future__ import annotations

from pathlib import Path

import scenario_text
from scenario_text import Line, Scenario

LONGEST = 160
TABLE = scenario_text.HERE / "DIFFERENCES.md"
HEAD = """# Where we differ from Cog 0.23.1

Each scenario that needs only the HTTP server of a model (`on: both`) is shown on ours and on the real `cog` and
`coglet`. They do the same, but for the rows below; a difference without a sentence fails the tests, and so does a row
that is no longer true. {same} scenarios are the same, {differ} differ. This page is written by `scenario_table.py`.

| scenario | Cog 0.23.1 | Modelyard | why |
|---|---|---|---|
"""


def shared(section: str) -> list[Path]:
    """The scenarios of a section that the real Cog is asked to show as well."""
    return [path for path in scenario_text.section(section) if "\non: both\n" in path.read_text()]


def render() -> str:
    """The page."""
    scenarios = [scenario_text.load(path) for name in scenario_text.sections() for path in shared(name)]
    rows = [_row(scenario) for scenario in scenarios if scenario.differs is not None]
    return HEAD.format(same=len(scenarios) - len(rows), differ=len(rows)) + "".join(rows)


def _row(scenario: Scenario) -> str:
    cells = [scenario.name, _said(scenario, "cog"), _said(scenario, "ours"), scenario.differs or ""]
    return f"| {' | '.join(cells)} |\n"


def _said(scenario: Scenario, target: str) -> str:
    """The lines of one target alone, as they stand in the scenario; of a step of its own all that stands below it."""
    found: list[Line] = []
    for step in scenario.steps:
        lines = step.lines if step.line.target == target else [line for line in step.lines if line.target == target]
        found += [step.line, *lines] if step.line.target == target else lines
    texts = [" ".join(line.text.split()) for line in found]
    return "<br>".join(_code(text) for text in texts) or "–"


def _code(text: str) -> str:
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return f"`{shown.replace('|', chr(92) + '|').replace('`', chr(39))}`"


if __name__ == "__main__":
    TABLE.write_text(render())
