"""What only the reader of source text must know: what it cannot tell, where, and how a model may be called."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from modelyard.packaging import schema
from modelyard.packaging.schema import SchemaError, Traits

HEAD = "from cog import BaseModel, Input, Path, concurrent, streaming\n"


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def inputs(root: Path, signature: str, *, before: str = "") -> dict[str, Any]:
    write(root, run=f"{HEAD}{before}\n\ndef run({signature}) -> str: ...\n")
    found: dict[str, Any] = schema.read(root, "run.py:run")["components"]["schemas"]
    return found


def refusal(root: Path, signature: str, *, before: str = "", returns: str = "str") -> SchemaError:
    write(root, run=f"{HEAD}{before}\n\ndef run({signature}) -> {returns}: ...\n")
    with pytest.raises(SchemaError) as caught:
        schema.read(root, "run.py:run")
    return caught.value


@pytest.mark.parametrize(
    ("default", "part"),
    [
        ("make()", "make()"),
        ("Input(default=os.environ['X'])", "os.environ"),
        ("Input(choices=[*UNKNOWN])", "UNKNOWN"),
        ("2 ** 2 ** 2 ** 9", "2 ** 2 ** 2 ** 9"),
        ("'x' * 10 ** 9", "'x' * 10 ** 9"),
        ("[0] * 1000 * 1000", "[0] * 1000 * 1000"),
        ("1 << 10 ** 9", "1 << 10 ** 9"),
        ("len(range(10 ** 9))", "range(10 ** 9)"),
        ("1 / 0", "1 / 0"),
        ("{'a': 1}['b']", "{'a': 1}['b']"),
        ("'%s' % 1", "'%s' % 1"),
        ("lambda: 1", "lambda: 1"),
        ("b'bytes'", "b'bytes'"),
        ("f'{1:>100000000000}'", "1"),
        ("'{:>9999999999}'.format(1)", "'{:>9999999999}'.format(1)"),
        ("sum([x for x in range(100000) for y in range(100000)])", "range(100000)"),
        ("__import__('os').getcwd()", "__import__('os')"),
        ("().__class__.__base__", "().__class__"),
        ("('a' * 99999).replace('a', 'b' * 99999)", "replace"),
        ("','.join(['x' * 99999] * 99999)", "['x' * 99999] * 99999"),
        ("[[0] * 9999] * 9999", "[[0] * 9999] * 9999"),
    ],
)
def test_what_cannot_be_told_is_named_with_its_place_and_a_way_to_mend_it(
    tmp_path: Path, default: str, part: str
) -> None:
    error = refusal(tmp_path, f"a: str = {default}", before="import os")
    assert error.detail.startswith("run.py:4: parameter 'a': ")
    assert part in error.detail
    assert "cannot be statically resolved" in error.detail
    assert error.hint
    assert (error.file, error.line) == ("run.py", 4)


def test_a_default_factory_is_refused_by_its_name(tmp_path: Path) -> None:
    error = refusal(tmp_path, "a: list[str] = Input(default_factory=list)")
    assert "default_factory is not supported in static schema generation" in error.detail


def test_an_argument_that_input_does_not_have_is_named(tmp_path: Path) -> None:
    assert "Input() has no argument 'minimum'" in refusal(tmp_path, "a: int = Input(minimum=1)").detail
    assert "ge must be a number, got '1'" in refusal(tmp_path, "a: int = Input(ge='1')").detail
    assert "description must be a string, got 3" in refusal(tmp_path, "a: int = Input(description=3)").detail
    assert "choices must be a list, got 'ab'" in refusal(tmp_path, "a: str = Input(choices='ab')").detail


@pytest.mark.parametrize(
    "change",
    [
        "SIZES.append('c')",
        "SIZES[0] = 'c'",
        "random.shuffle(SIZES)",
        "for name in other:\n    SIZES.append(name)",
        "if something():\n    SIZES = ['x']",
        "del SIZES",
        "SIZES += load()",
        "for SIZES in other: pass",
        "SIZES, b = load()",
    ],
)
def test_a_name_that_more_than_one_statement_makes_is_not_guessed(tmp_path: Path, change: str) -> None:
    error = refusal(tmp_path, "a: str = Input(choices=SIZES)", before=f"SIZES = ['a', 'b']\n{change}\n")
    assert "choices expression cannot be statically resolved: `" in error.detail


def test_statements_that_change_nothing_leave_a_name_readable(tmp_path: Path) -> None:
    before = "import torch\nSIZES = ['a', 'b']\nprint(SIZES)\ntorch.set_num_threads(len(SIZES))\nassert SIZES\n"
    assert inputs(tmp_path, "a: str = Input(choices=SIZES)", before=before)["a"]["enum"] == ["a", "b"]


def test_a_name_that_is_bound_again_has_its_last_value(tmp_path: Path) -> None:
    found = inputs(tmp_path, "a: str = Input(choices=SIZES)", before="SIZES = ['a']\nSIZES = SIZES2 = ['b']\n")
    assert found["a"]["enum"] == ["b"]


def test_names_that_go_in_circles_end(tmp_path: Path) -> None:
    assert "cannot be statically resolved" in refusal(tmp_path, "a: int = X", before="X = Y\nY = X\n").detail
    assert "cannot resolve type 'A'" in refusal(tmp_path, "a: A", before="A = B\nB = A\n").detail
    write(tmp_path, other="from run import Thing\n")
    assert "Thing" in refusal(tmp_path, "a: Thing", before="from other import Thing\n").detail


def test_a_type_that_holds_itself_is_some_object_inside(tmp_path: Path) -> None:
    write(tmp_path, run=f"{HEAD}class Node(BaseModel):\n    inner: 'list[Node]'\n\ndef run() -> Node: ...\n")
    output = schema.read(tmp_path, "run.py:run")["components"]["schemas"]["Output"]
    assert output["properties"]["inner"] == {"items": {"type": "object"}, "title": "Inner", "type": "array"}


def test_an_alias_that_holds_itself_is_refused(tmp_path: Path) -> None:
    assert "run.py:2" in refusal(tmp_path, "a: Json", before="Json = 'list[Json]'").detail


@pytest.mark.parametrize(
    ("returns", "reason"),
    [
        ("Missing", "cannot resolve type 'Missing' - it is not a primitive type (str, int, float, bool, Path)"),
        ("np.ndarray", "cannot resolve type 'np.ndarray' (imported from 'numpy')"),
        ("Thing", "cannot resolve type 'Thing' (imported from 'package')"),
        ("list[Thing]", "cannot resolve type 'Thing' (imported from 'package')"),
        ("'not an annotation!'", "is no annotation"),
        ("Generic[int]", "unsupported type: Generic[int]"),
        ("Plain", "unsupported type: Plain is no BaseModel, TypedDict, dataclass or enumeration"),
        ("VALUE", "unsupported type"),
        ("function", "function is not a type"),
        ("3", "unsupported type: 3"),
    ],
)
def test_an_output_without_a_schema_is_named(tmp_path: Path, returns: str, reason: str) -> None:
    write(tmp_path, package____init__="from cog import BaseModel\nclass Thing(BaseModel):\n    a: int\n")
    before = (
        "import numpy as np\nfrom package import Thing\nfrom typing import Generic\n\n\nclass Plain: ...\n\n\n"
        "VALUE = 3\n\n\ndef function(): ...\n"
    )
    error = refusal(tmp_path, "a: int", before=before, returns=returns)
    assert reason in error.detail
    assert error.line > 5


@pytest.mark.parametrize(
    ("signature", "hint"),
    [
        ("a=3", "say what it takes, as `a: str`"),
        ("*many: int", "take it by name, as `many: list[str]`"),
        ("a: bytes", "use a Path: its file holds the bytes"),
        ("a: complex", "use str, int, float, bool, Path, Secret, dict"),
    ],
)
def test_what_is_refused_says_how_to_mend_it(tmp_path: Path, signature: str, hint: str) -> None:
    found = refusal(tmp_path, signature).hint
    assert found is not None
    assert hint in found


def test_an_enumeration_whose_values_are_not_in_the_text_is_refused(tmp_path: Path) -> None:
    for body in ("A = enum.auto()", "A = B = object()", "for A in 'ab': pass"):
        before = f"import enum\n\n\nclass Color(enum.Enum):\n    {body}\n"
        error = refusal(tmp_path, "a: Color", before=before)
        assert "unsupported type: Color" in error.detail
        assert error.line > 0
        assert error.hint


def test_a_type_from_a_package_can_be_made_opaque(tmp_path: Path) -> None:
    text = "from typing import Annotated\nfrom cog import Opaque\nfrom somewhere import Big\n"
    write(tmp_path, run=text + "def run(a: int) -> list[Annotated[Big, Opaque]]: ...\n")
    output = schema.read(tmp_path, "run.py:run")["components"]["schemas"]["Output"]
    assert output == {"items": {"type": "object"}, "title": "Output", "type": "array"}


def test_an_error_in_another_file_names_that_file(tmp_path: Path) -> None:
    write(tmp_path, kinds="from cog import BaseModel\n\n\nclass Out(BaseModel):\n    a: bytes\n")
    error = refusal(tmp_path, "a: int", before="from kinds import Out", returns="Out")
    assert error.detail == 'kinds.py:5: field "a": unsupported type: bytes'


def test_a_syntax_error_has_its_line(tmp_path: Path) -> None:
    write(tmp_path, run="import os\n\ndef run(:\n")
    with pytest.raises(SchemaError, match=r"^run\.py:3: syntax error"):
        schema.read(tmp_path, "run.py:run")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"x = 1\0", b"(" * 5000, b"x = " + b"-" * 100_000 + b"1"])
def test_a_file_that_is_no_python_is_an_error_and_not_a_crash(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.py").write_bytes(content)
    with pytest.raises(SchemaError, match=r"^run\.py"):
        schema.read(tmp_path, "run.py:run")


def test_other_encodings_are_read_as_python_reads_them(tmp_path: Path) -> None:
    source = "# coding: latin-1\ndef run(a: str = 'é') -> str: ...\n"
    (tmp_path / "run.py").write_bytes(source.encode("latin-1"))
    found = schema.read(tmp_path, "run.py:run")["components"]["schemas"]["Input"]
    assert found["properties"]["a"]["default"] == "é"


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        ("missing.py:Runner", "missing.py does not exist"),
        ("run.py:Other", 'class or function "Other" not found in run.py; found: Both, Neither'),
        ("../run.py:Runner", "must be a file of the project"),
        ("/etc/passwd:Runner", "must be a file of the project"),
        ("run:Runner", "must be a file of the project"),
        ("run.py:Both", "Both must define either run() or predict(), not both"),
        ("run.py:Neither", "Neither must define run() or predict()"),
    ],
)
def test_a_reference_to_nothing_says_what_there_is(tmp_path: Path, ref: str, reason: str) -> None:
    both = "class Both:\n    def run(self) -> str: ...\n    def predict(self) -> str: ...\n\n\nclass Neither: ...\n"
    write(tmp_path, run=both)
    with pytest.raises(SchemaError) as caught:
        schema.read(tmp_path, ref)
    assert reason in caught.value.detail


def test_no_reference_at_all_says_what_to_add(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"no predict or train reference found in cog\.yaml") as caught:
        schema.read(tmp_path, None)
    assert caught.value.hint


@pytest.mark.parametrize("ref", ["run.py", "run.py:Runner", "run.py:Alias", "run.py:whatever"])
def test_a_reference_may_leave_out_the_name_or_use_another_one(tmp_path: Path, ref: str) -> None:
    extra = "\n\nAlias = Runner\n\n\ndef predict(a: int) -> str: ...\n"
    write(tmp_path, run="class Runner:\n    def run(self, a: int) -> str: ...\n" + extra)
    assert "a" in schema.read(tmp_path, ref)["components"]["schemas"]["Input"]["properties"]


def test_a_folder_in_a_reference_need_not_be_a_package(tmp_path: Path) -> None:
    folder = tmp_path / "a-b"
    folder.mkdir()
    (folder / "x.py").write_text("from kinds import Size\n\ndef run(a: Size) -> str: ...\n")
    write(tmp_path, kinds="from typing import Literal\nSize = Literal['s', 'l']\n")
    assert schema.read(tmp_path, "a-b/x.py:run")["components"]["schemas"]["a"]["enum"] == ["s", "l"]


def test_training_alone_has_its_own_names(tmp_path: Path) -> None:
    write(tmp_path, train="from cog import Path\n\ndef train(data: Path, n: int = 3) -> Path: ...\n")
    document = schema.read(tmp_path, "train.py:train", "train")
    assert {"TrainingInput", "TrainingOutput", "TrainingRequest", "TrainingResponse"} <= set(
        document["components"]["schemas"]
    )
    assert document["components"]["schemas"]["TrainingOutput"]["title"] == "Output"
    assert sorted(document["paths"]) == ["/", "/health-check", "/trainings", "/trainings/{training_id}/cancel"]
    assert document["paths"]["/trainings"]["post"]["operationId"] == "train_trainings_post"


def test_with_training_every_key_is_in_alphabetical_order(tmp_path: Path) -> None:
    write(tmp_path, run="def run(z: int, a: int) -> str: ...\n\ndef train(b: bytes) -> str: ...\n")
    with pytest.raises(SchemaError, match=r"train schema: parameter 'b': unsupported type: bytes"):
        schema.read(tmp_path, "run.py:run", train="run.py:train")
    write(tmp_path, run="def run(z: int, a: int) -> str: ...\n\ndef train(b: int) -> str: ...\n")
    document = schema.read(tmp_path, "run.py:run", train="run.py:train")
    assert list(document["components"]["schemas"]["Input"]["properties"]) == ["a", "z"]


def test_choices_never_take_the_place_of_another_component(tmp_path: Path) -> None:
    text = "from cog import Input\nA, S = Input(choices=['a']), Input(choices=['s'])\n\n"
    text += "def run(Output: str = A, size: str = S) -> str: ...\n"
    write(tmp_path, run=text + "\ndef train(size: str = Input(choices=['l'])) -> str: ...\n")
    schemas = schema.read(tmp_path, "run.py:run", train="run.py:train")["components"]["schemas"]
    assert schemas["Output"] == {"title": "Output", "type": "string"}
    assert schemas["Input_Output"]["enum"] == ["a"]
    assert (schemas["size"]["enum"], schemas["TrainingInput_size"]["enum"]) == (["s"], ["l"])


# How it may be called


def traits(root: Path, body: str, ref: str = "run.py:Runner") -> Traits:
    write(root, run=HEAD + "import cog\nLIMIT = 8\n\n" + body)
    return schema.read_traits(root, ref)


def test_the_traits_of_a_plain_class(tmp_path: Path) -> None:
    found = traits(tmp_path, "class Runner:\n    def predict(self) -> str: ...\n    def train(self) -> str: ...\n")
    assert found == Traits(
        method="predict", owner="Runner", concurrency=1, streaming=False, is_async=False, batched=False, train=True
    )


@pytest.mark.parametrize(
    ("decorator", "concurrency"),
    [("concurrent(max=4)", 4), ("concurrent", 1), ("cog.concurrent()", 1), ("concurrent(max=LIMIT)", 8)],
)
def test_concurrency_is_read_from_its_decorator(tmp_path: Path, decorator: str, concurrency: int) -> None:
    found = traits(tmp_path, f"@cog.streaming\n@{decorator}\nasync def run() -> str: ...\n", "run.py:run")
    assert (found.concurrency, found.streaming, found.is_async, found.owner) == (concurrency, True, True, "")


@pytest.mark.parametrize(
    ("decorator", "reason"),
    [
        ("concurrent(max=unknown())", "@concurrent only supports literal integer max=... arguments"),
        ("concurrent(3)", "@concurrent only supports literal integer max=... arguments"),
        ("concurrent(max='3')", "@concurrent max must be an integer literal"),
        ("concurrent(max=True)", "@concurrent max must be an integer literal"),
        ("concurrent(max=0)", "@concurrent max must be at least 1"),
        ("concurrent(max=2)", "@concurrent(max > 1) requires an async run() or predict() method"),
    ],
)
def test_a_concurrency_that_cannot_be_is_refused(tmp_path: Path, decorator: str, reason: str) -> None:
    with pytest.raises(SchemaError) as caught:
        traits(tmp_path, f"@{decorator}\ndef run() -> str: ...\n", "run.py:run")
    assert reason in caught.value.detail


@pytest.mark.parametrize(
    ("decorator", "told"),
    [
        ("cog.batch", (8, 10)),
        ("cog.batch()", (8, 10)),
        ("cog.batch(max_size=LIMIT + 1)", (9, 10)),
        ("cog.batch(max_size=3, max_wait_ms=0.0)", (3, 0)),
        ("cog.batch(max_wait_ms=2.5)", (8, 2.5)),
    ],
)
def test_a_batch_is_read_from_its_decorator(tmp_path: Path, decorator: str, told: tuple[int, float]) -> None:
    found = traits(tmp_path, f"@{decorator}\ndef run(text: list[str]) -> list[str]: ...\n", "run.py:run")
    assert (found.batched, found.concurrency, found.is_async) == (True, 2 * told[0], False)
    said = schema.read(tmp_path, "run.py:run")["x-modelyard-batch"]
    assert json.dumps(said) == json.dumps({"max_size": told[0], "max_wait_ms": told[1]})


@pytest.mark.parametrize(
    ("decorator", "reason"),
    [
        ("cog.batch(max_size=unknown())", "@batch only supports literal max_size=... and max_wait_ms=... arguments"),
        ("cog.batch(8)", "@batch only supports literal max_size=... and max_wait_ms=... arguments"),
        ("cog.batch(size=8)", "@batch only supports literal max_size=... and max_wait_ms=... arguments"),
        ("cog.batch(**{'max_size': 8})", "@batch only supports literal max_size=... and max_wait_ms=... arguments"),
        ("cog.batch(max_size='8')", "@batch max_size must be a whole number, got '8'"),
        ("cog.batch(max_size=True)", "@batch max_size must be a whole number, got True"),
        ("cog.batch(max_size=10_001)", "@batch max_size must be from 1 to 10000, got 10001"),
        ("cog.batch(max_wait_ms=None)", "@batch max_wait_ms must be a number of milliseconds, got None"),
        ("cog.batch(max_wait_ms=-0.5)", "@batch max_wait_ms must not be negative, got -0.5"),
    ],
)
def test_a_batch_that_cannot_be_is_refused_at_its_decorator(tmp_path: Path, decorator: str, reason: str) -> None:
    body = f"@{decorator}\ndef run(text: list[str]) -> list[str]: ...\n"
    for read in (lambda: traits(tmp_path, body, "run.py:run"), lambda: schema.read(tmp_path, "run.py:run")):
        with pytest.raises(SchemaError) as caught:
            read()
        assert reason in caught.value.detail
        assert (caught.value.file, caught.value.line) == ("run.py", len(f"{HEAD}import cog\n\n\n".splitlines()) + 1)


# Speed


def test_a_hundred_inputs_are_read_sooner_than_python_starts(tmp_path: Path) -> None:
    fields = [
        f"        field_{i}: {kind} = Input(description='Field number {i}', default={default}, {more}),"
        for i, (kind, default, more) in enumerate(
            [("int", "5", "ge=0, le=100"), ("str", "'m'", "choices=SIZES"), ("Path", "None", ""), ("float", "1.5", "")]
            * 25
        )
    ]
    body = "\n".join(fields)
    text = f"{HEAD}SIZES = ['s', 'm', 'l']\n\nclass Runner:\n    def run(\n        self,\n{body}\n    ) -> str: ...\n"
    write(tmp_path, run=text)
    schema.read(tmp_path, "run.py:Runner")
    reading = min(_seconds(lambda: schema.read(tmp_path, "run.py:Runner")) for _ in range(5))
    starting = min(_seconds(lambda: subprocess.run([sys.executable, "-c", ""], check=True)) for _ in range(5))
    assert reading < starting
    json.dumps(schema.read(tmp_path, "run.py:Runner"))


def _seconds(action: Any) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
