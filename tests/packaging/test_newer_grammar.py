"""Files whose grammar our own parser does not know: another Python reads them, and what comes back is the same tree."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.packaging import schema
from modelyard.packaging.doctor import case
from modelyard.packaging.doctor.examination import examine
from modelyard.packaging.doctor.machine import Machine
from modelyard.packaging.schema import SchemaError
from modelyard.packaging.schema_source import elsewhere, telling
from modelyard.store import pythons

ROOT = Path(__file__).parent.parent.parent
ENVIRON = {"HOME": str(Path.home()), "PATH": "/usr/bin:/bin", "UV_PYTHON_DOWNLOADS": "never"}
NEWER = f"3.{sys.version_info.minor + 1}"

TRICKY = '''
"""Text, \\N{BULLET}, \\ud800."""
from __future__ import annotations
x: int = 0xFFFF_FFFF ** 2, -1.5, 1e400, 3j, b"\\x00\\xff", ..., None, True
y = f"{x!r:>{10}} {'a'}" if x else {**{}, "a": [*x]}
async def f(a, /, b: "int" = 1, *c, d=2, **e) -> None:
    async with a as b: yield (z := 1)
    match a:
        case {"k": [1, *_], **rest} | None if rest: pass
        case int(real=1): return
try: pass
except* ValueError as error: del error
@f(1)[0]
class C(B, metaclass=M): x: int; y = lambda *a, k=1: a[1:2, ...]
'''


def newer_python() -> pythons.Interpreter:
    """One that knows the grammar of 3.12, and is not the one that runs this."""
    for minor in range(max(12, sys.version_info.minor + 1), 15):
        found = pythons.find(f"3.{minor}", ENVIRON)
        if elsewhere.is_newer(found.minor):
            return found
    pytest.skip("no Python newer than this one is on the machine")


def read(root: Path, text: str, minor: str) -> dict[str, object]:
    (root / "run.py").write_text(text)
    newer = elsewhere.Newer(minor, ENVIRON)
    return schema.read(root, "run.py:run", newer=newer)


@pytest.mark.parametrize(
    "source",
    [TRICKY.encode(), *((ROOT / path).read_bytes() for path in ("sdk/src/cog/types.py", "tests/test_house.py"))],
)
def test_a_tree_that_is_told_is_the_tree_itself(source: bytes) -> None:
    told = elsewhere.tree(Path(sys.executable), source, "a.py")
    assert ast.dump(told, include_attributes=True) == ast.dump(ast.parse(source), include_attributes=True)


def test_numbers_of_any_length_and_chains_of_any_length_are_told() -> None:
    source = f"x = 0x{'f' * 5000}\nif x: pass\n" + "elif x: pass\n" * 400
    told = elsewhere.tree(Path(sys.executable), source.encode(), "a.py")
    assert ast.unparse(told.body[1]).count("elif") == 400
    assert isinstance(told.body[0], ast.Assign)
    assert told.body[0].value.value == int("f" * 5000, 16)  # type: ignore[attr-defined]


def test_a_kind_of_expression_that_we_do_not_have_is_its_own_text() -> None:
    known = ",".join(name for name in vars(ast) if name != "JoinedStr")
    command = [sys.executable, "-I", telling.__file__, "a.py", known]
    done = subprocess.run(command, input=b'x = f"{a} b"\n', capture_output=True, check=True)
    (statement,) = json.loads(done.stdout)["tree"]["body"]
    assert (statement["value"]["_"], statement["value"]["id"]) == ("Name", 'f"{a} b"')


def test_the_grammar_of_a_newer_python_is_read_by_that_python(tmp_path: Path) -> None:
    found = newer_python()
    text = (
        "from cog import BaseModel, Input\n\n"
        "type Size = int\ntype Names = list[str]\nKIND = 'b'\n\n\n"
        "def first[T](items: list[T]) -> T:\n    return items[0]\n\n\n"
        "class Out[T](BaseModel):\n    names: Names\n\n\n"
        "def run(size: Size = 3, kind: str = Input(default=f\"{'a' + \"-\"}\", choices=['a-', KIND])) -> Out: ...\n"
    )
    with pytest.raises(SchemaError, match=r"run\.py:\d+: syntax error"):
        schema.read(_written(tmp_path, text), "run.py:run")
    new = read(tmp_path, text, found.minor)
    old = text.replace("type ", "").replace("[T](", "(").replace('f"{\'a\' + "-"}"', "'a-'").replace("-> T", "-> str")
    assert new == schema.read(_written(tmp_path, old.replace("list[T]", "list")), "run.py:run")


def _written(root: Path, text: str) -> Path:
    (root / "run.py").write_text(text)
    return root


def test_doctor_reads_it_and_renames_nothing_that_such_a_file_imports(tmp_path: Path) -> None:
    found = newer_python()
    (tmp_path / "cog.yaml").write_text(f'build:\n  python_version: "{found.minor}"\npredict: "predict.py:Predictor"\n')
    (tmp_path / "predict.py").write_text("class Predictor:\n    def predict(self, a: int) -> str: ...\n")
    (tmp_path / "other.py").write_text("type X = int\nfrom predict import Predictor\n")
    results = {
        one.check.name: one
        for one in examine(lambda: case.read(tmp_path / "cog.yaml", Machine(), "yard", ENVIRON), fix=True)
    }
    assert results["config-predict-ref"].state == "ok"
    assert "other.py imports predict.py" in results["predict-to-run-migration"].failure
    (tmp_path / "other.py").unlink()
    (tmp_path / "predict.py").write_text("type X = int\n\n\nclass Predictor:\n    def predict(self, a: X): ...\n")
    result = examine(lambda: case.read(tmp_path / "cog.yaml", Machine(), "yard", ENVIRON), fix=False)
    returns = next(one for one in result if one.check.name == "python-missing-type-annotations")
    assert [finding.line for finding in returns.left or ()] == [5]


def test_a_mistake_in_a_newer_grammar_has_its_file_line_and_place(tmp_path: Path) -> None:
    found = newer_python()
    with pytest.raises(SchemaError) as caught:
        read(tmp_path, "type X = int\n\n\ndef run(a: X) ->: ...\n", found.minor)
    assert caught.value.detail.startswith("run.py:4: syntax error: ")
    assert caught.value.detail.splitlines()[1:] == ["    def run(a: X) ->: ...", "                  ^"]


def test_a_mistake_is_shown_with_a_mark_below_it(tmp_path: Path) -> None:
    with pytest.raises(SchemaError) as caught:
        schema.read(_written(tmp_path, "if True:\n    def run(:\n        pass\n"), "run.py:run")
    assert caught.value.detail.endswith("\n    def run(:\n            ^")
    assert "build.python_version" in (caught.value.hint or "")


def test_without_a_newer_python_both_versions_are_named(tmp_path: Path) -> None:
    nowhere = {
        "HOME": str(tmp_path),
        "PATH": "",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_PYTHON_INSTALL_DIR": str(tmp_path),
    }
    newer = elsewhere.Newer("3.99", nowhere)
    with pytest.raises(SchemaError) as caught:
        schema.read(_written(tmp_path, "def run(:\n"), "run.py:run", newer=newer)
    assert f"read by Python 3.{sys.version_info.minor}" in caught.value.detail
    assert "Python 3.99, which is not on this machine" in caught.value.detail
    assert "uv python install 3.99" in (caught.value.hint or "")


def test_what_our_own_parser_reads_starts_no_process(tmp_path: Path) -> None:
    newer = elsewhere.Newer(NEWER, {})  # without a PATH nothing could be found
    assert schema.read(_written(tmp_path, "def run(a: int) -> str: ...\n"), "run.py:run", newer=newer)
