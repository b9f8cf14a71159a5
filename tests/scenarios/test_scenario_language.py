"""How scenarios are read, how JSON is compared with a pattern, and that what does not hold is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import scenario_match as match
import scenario_table
import scenario_text
from scenario_run import Failed, Show
from scenario_server import OURS
from scenario_text import Scenario, ScenarioError

TEXT = """# What is shown.
on: both
differs: It is better
  in two ways.

serve A=1 --flag
# a remark
POST /predictions {"a":
    1}
  with Accept: text/plain
  status 200
  [cog] json {"b": 1,
    "c": 2}

-- run.py --

x = 1
-- sub/words.txt --
-- no file
"""
HELLO = """
-- run.py --
def Runner(text: str = "you") -> str:
    return "hello " + text
"""


def parse(text: str) -> Scenario:
    return scenario_text.parse(text, Path("section/some-name.scenario"))


def test_a_scenario_has_a_head_steps_with_lines_and_files() -> None:
    scenario = parse(TEXT)
    assert (scenario.name, scenario.title) == ("section/some-name", "What is shown.")
    assert (scenario.on, scenario.differs) == ("both", "It is better in two ways.")
    assert scenario.files == {"run.py": "x = 1\n", "sub/words.txt": "-- no file\n"}
    serve, post = scenario.steps
    assert (serve.line.text, serve.lines) == ("serve A=1 --flag", ())
    assert (post.line.text, post.line.number) == ('POST /predictions {"a":\n1}', 8)
    assert [(line.word, line.rest, line.target) for line in post.lines] == [
        ("with", "Accept: text/plain", None),
        ("status", "200", None),
        ("json", '{"b": 1,\n"c": 2}', "cog"),
    ]
    assert [line.word for line in scenario.lines("cog")] == ["json"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("serve\n", "the first line has to say what is shown"),
        ("# A\nwhere: x\n\nserve\n", "'where: x' is none of on, ref, train, differs"),
        ("# A\non: both", "a blank line has to end the head"),
        ("# A\non: somewhere\n\nserve\n", "on is 'somewhere'; wanted: both or ours"),
        ("# A\n\n-- run.py --\n", "it has no steps"),
        ("# A\n\n  status 200\n", "line 3: an expectation with no step above it"),
        ("# A\n\nserve\n status 200\n", "line 4: indent by two"),
        ("# A\n\nserve\n  [theirs] status 200\n", "[theirs] is none of ours, cog"),
        ("# A\n\nserve\n  [ours] status 200\n", "go together; one of them is missing"),
        ("# A\ndiffers: no more\n\nserve\n", "go together; one of them is missing"),
        ("# A\n\nserve\n\n-- a --\n-- a --\n", "the file a comes twice"),
    ],
)
def test_a_scenario_that_is_written_wrongly_says_where(text: str, said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ([{"a": "<any>"}], [{"a": None, "b": 2}]),
        ("<number>", 1.5),
        ("<string>", "x"),
        ("~a.*c", "ab\nc"),
        (None, None),
    ],
)
def test_a_pattern_holds(pattern: Any, value: Any) -> None:
    match.subset(pattern, value)


@pytest.mark.parametrize(
    ("pattern", "value", "said"),
    [
        ({"a": 1}, {"b": 1}, "it lacks a"),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1]}}, "it.a.b has 1 items; wanted: 2"),
        (1, True, "it is true; wanted: 1"),
        (1, 1.0, "it is 1.0; wanted: 1"),
        ("<number>", True, "wanted: <number>"),
        ("~a", "ab", "wanted: text like a"),
    ],
)
def test_a_pattern_that_does_not_hold_says_where(pattern: Any, value: Any, said: str) -> None:
    with pytest.raises(match.Mismatch) as caught:
        match.subset(pattern, value)
    assert said in str(caught.value)


def test_an_exact_pattern_has_all_keys() -> None:
    match.compare({"a": [{"b": 1}]}, {"a": [{"b": 1}]})
    with pytest.raises(match.Mismatch, match=r"it\.a\[0\] has c"):
        match.compare({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}]})


def test_names_and_repetitions_are_filled_in() -> None:
    assert match.fill("${ab*3} $SINK/x $NAME_2", {"SINK": "http://sink", "NAME_2": "y"}) == "ababab http://sink/x y"
    with pytest.raises(KeyError):
        match.fill("$NOBODY", {})


@pytest.mark.parametrize(
    "lines",
    [
        'POST /predictions {}\n  json {"output": "hello me"}',
        "POST /predictions {}\n  status 404",
        "POST /predictions {}\n  events start completed",
        "GET /\n  header content-type: text/html",
        "GET /health-check\n  lacks setup.logs",
        "GET /\n  keys a b",
        "file run.py\n  missing",
        "begin a POST /predictions {}\nend a\n  empty",
        "repeat 2 POST /predictions {}\n  has goodbye",
        'POST /predictions {"webhook": "$SINK/a"}\nsignal INT\nstopped 5',
        "$ yard --version\n  out has nothing of that kind",
        "$ yard --version\n  exit 3",
    ],
)
def test_a_line_that_does_not_hold_fails_and_is_named(lines: str, tmp_path: Path, home: Path) -> None:
    scenario = parse(f"# A\n\nserve\n{lines}\n{HELLO}")
    with pytest.raises(Failed) as caught:
        Show(scenario, OURS, tmp_path, home).run()
    assert "some-name.scenario:" in str(caught.value)


def test_a_word_that_nobody_knows_is_an_error_of_the_scenario(tmp_path: Path, home: Path) -> None:
    with pytest.raises(ScenarioError, match="'colour' is nothing to expect"):
        Show(parse(f"# A\n\nserve\nGET /\n  colour red\n{HELLO}"), OURS, tmp_path, home).run()


def test_the_table_of_differences_is_up_to_date() -> None:
    assert scenario_table.TABLE.read_text() == scenario_table.render(), "run: python tests/scenarios/scenario_table.py"


def test_every_scenario_is_in_a_section_that_is_shown() -> None:
    shown = {path.stem.removeprefix("test_scenarios_") for path in scenario_text.HERE.glob("test_scenarios_*.py")}
    for name in scenario_text.sections():
        assert name in shown
        assert not scenario_table.shared(name) or f"cog_{name}" in shown
