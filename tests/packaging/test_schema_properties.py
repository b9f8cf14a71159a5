"""Random signatures and random inputs: the text, the loaded model, the host and the box must all say the same.

The examples are derived from the code, so a run repeats the last one. `reflect.py` answers in one process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard import errors
from modelyard.api import validation
from modelyard.models import interface
from modelyard.packaging import schema
from modelyard_runner import checks, envelope

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

HEADER = """\
{future}import enum
import typing as t
from typing import Annotated, Any, Dict, List, Literal, Optional, TypedDict, Union

import cog
from cog import BaseModel, File, Input, Opaque, Path, Secret


class Options(TypedDict, total=False):
    a: int


class Out(BaseModel):
    text: str
    parts: "list[Optional[float]]" = None


class Color(str, enum.Enum):
    RED = "a"
    BLUE = "s"


class Level(enum.Enum):
    LOW, HIGH = 1, 2
    ALSO_LOW = 1


Size = Literal["s", "m"]
Alias = List[int]
WORDS = ["s", "m"]

"""
BUDGET = settings(
    max_examples=400,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)

TEXTS = st.sampled_from(["", "a", "s", "m", "abc", "é\n", 'say "so"', "back\\slash", "http://x.test/y", "data:,x"])
NUMBERS = st.sampled_from([0, 1, 2, -3, 7, 10**6, 2**53, 0.0, 1.0, 1.5, -0.25, 3.0, 1e20])
SCALARS = st.one_of(TEXTS, NUMBERS, st.booleans(), st.none())
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
SIMPLE = {
    "str": TEXTS,
    "int": NUMBERS.filter(lambda value: isinstance(value, int)),
    "float": NUMBERS,
    "bool": st.booleans(),
    "Path": TEXTS,
    "cog.File": TEXTS,
    "Secret": TEXTS,
    "Any": JSON,
    "dict": st.dictionaries(st.sampled_from("ab"), SCALARS, max_size=2),
    "Dict[str, int]": st.dictionaries(st.sampled_from("ab"), st.integers(0, 3), max_size=2),
    "Options": st.just({"a": 1}),
    "Annotated[str, 'a comment']": TEXTS,
    "Annotated[Out, Opaque]": st.just({}),
    "Literal['a', 's']": TEXTS,
    "Literal[1, 2]": NUMBERS,
    "Size": TEXTS,
    "list": st.lists(SCALARS, max_size=3),
    "Alias": st.lists(st.integers(0, 3), max_size=3),
    "Color": TEXTS,
    "Level": NUMBERS,
    "bytes": TEXTS,
    "t.Sequence[int]": st.lists(st.integers(0, 3), max_size=3),
    "tuple[int, ...]": st.lists(st.integers(0, 3), max_size=3),
    "set": st.lists(st.integers(0, 3), max_size=3),
    "t.Tuple[int, str]": st.just([]),
    "Out": st.just({}),
}

Typed = tuple[str, st.SearchStrategy[Any]]


@st.composite
def types(draw: st.DrawFn, depth: int = 2) -> Typed:
    """An annotation as text, and values that mostly fit it."""
    kind = draw(st.sampled_from(["simple"] * 4 + ["list", "optional", "union"] if depth else ["simple"]))
    if kind == "simple":
        name = draw(st.sampled_from(sorted(SIMPLE)))
        return (draw(st.sampled_from([name, f'"{name}"'])) if "'" not in name else name), SIMPLE[name]
    text, values = draw(types(depth - 1))
    if kind == "list":
        form = draw(st.sampled_from(["list[{}]", "List[{}]", "t.List[{}]"]))
        return form.format(text), st.lists(values, max_size=3)
    if kind == "optional":
        forms = ["Optional[{}]", "t.Union[None, {}]"]
        return draw(st.sampled_from(forms)).format(text), values | st.none()
    other, more = draw(types(depth - 1))
    bare = not (text.startswith('"') or other.startswith('"'))
    form = draw(st.sampled_from(["Union[{}, {}]", "{} | {}"] if bare else ["Union[{}, {}]"]))
    return form.format(text, other), values | more


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """One of the ways in which people write a value."""
    forms = [repr(value), f"({value!r})", f"[{value!r}][0]", f"{{'k': {value!r}}}['k']", f"{value!r} if WORDS else 0"]
    if isinstance(value, str):
        forms += [f"{value[:1]!r} {value[1:]!r}", json.dumps(value), f"''.join([{value!r}])"]
        forms += [f"f'{value}{{1}}'[:-1]"] if value.isalnum() else []
    if isinstance(value, int) and not isinstance(value, bool):
        forms += [f"{value} + 0", f"int('{value}')", f"{value} * 1", hex(value)]
    if isinstance(value, list):
        forms += [f"{value!r} + []", f"[x for x in {value!r}]", f"[*{value!r}]", f"list({value!r})", repr(tuple(value))]
    return draw(st.sampled_from(forms))


@st.composite
def parameters(draw: st.DrawFn, name: str, form: str) -> tuple[str, st.SearchStrategy[Any]]:
    """One parameter as text, and values for it. `form`: what stands around its type."""
    annotation, values = draw(types())
    annotation = form.format(annotation)
    value = draw(values | SCALARS if draw(st.integers(0, 5)) == 0 else values)
    default = draw(written(value))
    plain = draw(st.sampled_from(["none", "plain", "input", "input", "input"]))
    if plain == "none":
        return f"{name}: {annotation}", values
    if plain == "plain":
        return f"{name}: {annotation} = {default}", values
    facts = {
        "description": st.sampled_from(["'what it is'", "'two ' 'parts'", "f'{1}'"]),
        "ge": st.sampled_from(["0", "0.0", "-1.5"]),
        "le": st.sampled_from(["7", "2.5", "10 ** 2"]),
        "min_length": st.sampled_from(["0", "1"]),
        "max_length": st.sampled_from(["2", "100"]),
        "regex": st.sampled_from(["'^[a-z]*$'", "r'a\\b'"]),
        "choices": st.sampled_from(["WORDS", "['a', 's']", "[1, 2]", "sorted(WORDS)", "[True]", "[1.5, 2]", "()"]),
        "deprecated": st.sampled_from(["True", "False"]),
        "accept": st.just("'image/*'"),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(facts)), max_size=2, unique=True))
    given_facts = [f"{key}={draw(facts[key])}" for key in chosen]
    if draw(st.booleans()):
        given_facts.insert(0, f"default={default}")
    return f"{name}: {annotation} = {draw(st.sampled_from(['Input', 'cog.Input']))}({', '.join(given_facts)})", values


@st.composite
def batched(draw: st.DrawFn) -> tuple[str, str, str]:
    """A decorator, and what stands around the types of inputs and of the output where it is about lists."""
    numbers = draw(st.lists(st.sampled_from(["max_size=2", "max_wait_ms=0.5"]), max_size=2, unique=True))
    mark = draw(st.sampled_from(["cog.batch", f"cog.batch({', '.join(numbers)})"]))
    lists = ["list[{}]"] * 8 + ["List[{}]", "t.Sequence[{}]", "{}", "Optional[list[{}]]", "tuple[{}, ...]"]
    inputs, output = (draw(st.sampled_from([*lists, *more])) for more in ([], ["list[Union[{}, Exception]]"] * 4))
    return f"    @{mark}\n", inputs, output


@st.composite
def models(draw: st.DrawFn) -> tuple[str, dict[str, st.SearchStrategy[Any]]]:
    """A model's file, and values for each of its inputs: one prediction's, in a batch too."""
    mark, inputs, outputs = draw(batched()) if draw(st.integers(0, 2)) == 0 else ("", "{}", "{}")
    names = draw(st.lists(st.sampled_from(["a", "b", "Input", "the_size", "size"]), max_size=3, unique=True))
    drawn = {name: draw(parameters(name, inputs)) for name in names}
    result = draw(st.sampled_from(["str", "t.Any", "list[Out]", "cog.ConcatenateIterator[str]"]) | types().map(_text))
    output = outputs.format(result)
    signature = "".join(f"        {text},\n" for text, _ in drawn.values())
    future = draw(st.sampled_from(["", "from __future__ import annotations\n"]))
    source = HEADER.format(future=future) + f"class Runner:\n{mark}    def run(\n        self,\n        *,\n{signature}"
    if not names:
        source = source.replace("        *,\n", "")
    return source + f"    ) -> {output}: ...\n", {name: values for name, (_, values) in drawn.items()}


def _text(typed: Typed) -> str:
    return typed[0]


class Reflector:
    """The process that loads models, and the folder of their files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        paths = [str(ROOT / "sdk" / "src"), str(ROOT / "runner" / "src")]
        command = [sys.executable, "-S", str(HERE / "reflect.py"), str(folder)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": ":".join(paths)}
        )
        self._numbers = count()

    def write(self, source: str) -> str:
        name = f"model_{next(self._numbers)}.py"
        (self.folder / name).write_text(source)
        return name

    def ask(self, file: str, *inputs: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"file": file, "inputs": inputs}) + "\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline() or '{"ended": true}')
        return found


@pytest.fixture(scope="module")
def reflector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reflector]:
    made = Reflector(tmp_path_factory.mktemp("models"))
    yield made
    assert made.process.stdin is not None
    made.process.stdin.close()
    assert made.process.wait(timeout=30) == 0


def static(reflector: Reflector, file: str) -> dict[str, Any]:
    try:
        return schema.read(reflector.folder, f"{file}:Runner")
    except schema.SchemaError as error:
        return {"refused": error.detail, "line": error.line}


@BUDGET
@given(made=models())
def test_the_text_of_any_signature_and_the_loaded_model_give_one_schema(
    reflector: Reflector, made: tuple[str, Any]
) -> None:
    file = reflector.write(made[0])
    read, loaded = static(reflector, file), reflector.ask(file)["schema"]
    if "refused" in read and "refused" in loaded:
        assert read["line"] > 0
        return
    assert json.dumps(read) == json.dumps(loaded)
    given_values = {
        name: node["default"]
        for name, node in read["components"]["schemas"]["Input"]["properties"].items()
        if node.get("default") is not None
    }
    faults = _box(msgspec.json.encode(given_values), read, missing=True)
    assert not faults, f"a default that the schema refuses: {faults}"


@BUDGET
@given(made=models(), data=st.data())
def test_an_input_is_taken_or_refused_alike_by_the_host_the_box_and_the_function(
    reflector: Reflector, made: tuple[str, dict[str, st.SearchStrategy[Any]]], data: st.DataObject
) -> None:
    source, values = made
    file = reflector.write(source)
    document = static(reflector, file)
    if "refused" in document:
        return
    wanted = interface.read(document)
    # A file is an address to the host, a path on the own disk to the box: so addresses for both.
    addresses = st.sampled_from(["http://x.test/y", "data:,x"])
    given_values = {
        name: st.one_of(kind, kind, JSON) if name not in wanted.files else addresses for name, kind in values.items()
    }
    tried = data.draw(st.lists(st.fixed_dictionaries({}, optional=given_values), min_size=1, max_size=4))
    judged = reflector.ask(file, *tried)["inputs"]
    for value, faults in zip(tried, judged, strict=True):
        raw = msgspec.json.encode(value)
        verdicts = {"host": _host(raw, wanted), "box": _box(raw, document), "function": "; ".join(faults)}
        assert len({bool(fault) for fault in verdicts.values()}) == 1, (value, verdicts)


def test_what_is_required_in_name_only_may_be_left_out_of_a_call(tmp_path: Path) -> None:
    text = "from cog import Input, Path\n\ndef run(a: str, b: str = None, c: Path = Input(default=None)) -> str: ...\n"
    (tmp_path / "run.py").write_text(text)
    document = schema.read(tmp_path, "run.py:run")
    assert document["components"]["schemas"]["Input"]["required"] == ["a", "b", "c"]
    assert document["x-modelyard-omittable"] == {"Input": ["b", "c"]}
    assert _host(b'{"a":"x"}', interface.read(document)) == _box(b'{"a":"x"}', document) == ""
    assert "a is required" in _host(b'{"b":"x"}', interface.read(document))
    assert "Field required" in _box(b'{"b":"x"}', document)


def _host(raw: bytes, wanted: interface.Interface) -> str:
    try:
        validation.Checker().check(msgspec.Raw(raw), wanted)
    except errors.ModelyardError as error:
        return str(error) or "refused"
    return ""


def _box(raw: bytes, document: dict[str, Any], *, missing: bool = False) -> str:
    """What the box finds wrong; `missing`: it is no fault that something is not there."""
    if missing:
        inputs = {**document["components"]["schemas"]["Input"], "required": []}
        document = {"components": {"schemas": {**document["components"]["schemas"], "Input": inputs}}}
    try:
        checks.Checker(document, "Input").check(msgspec.Raw(raw))
    except envelope.RequestError as error:
        return str(error) or "refused"
    return ""
