"""The text of a model and the model itself, loaded, must give the same schema; each fixture file is one case."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from modelyard.packaging import brought, schema

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MODELS = HERE / "models"
REFUSED = HERE / "refused"
FORMER = HERE / "former"
SPEC = HERE / "expected"


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.py"))


@cache
def reflected(folder: Path, python: str) -> dict[str, Any]:
    paths = [str(ROOT / "sdk" / "src"), str(ROOT / "runner" / "src")]
    command = [python, "-S", str(HERE / "reflect.py"), str(folder), *files(folder)]
    rules = {brought.VARIABLE: "1"} if folder == FORMER else {}
    environment = {"PYTHONPATH": ":".join(paths), **rules}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def pythons() -> list[str]:
    kept = [sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python"))[-1:] for minor in (10, 12, 13)]
    return [sys.executable, *(str(path) for paths in kept for path in paths)]


def read(folder: Path, file: str) -> dict[str, Any]:
    text = (folder / file).read_text()
    ref = next(f"{file}:{name}" for name in ("Runner", "Predictor", "run") if f"{name}(" in text or f"{name}:" in text)
    train = ref if "def train(" in text else None
    return schema.read(folder, ref, train=train, former=folder == FORMER)


@pytest.mark.parametrize("python", pythons())
@pytest.mark.parametrize("file", files(MODELS))
def test_source_and_reflection_agree(file: str, python: str) -> None:
    static, loaded = read(MODELS, file), reflected(MODELS, python)[file]
    if loaded == {"needs": "typing_extensions"} and "3.10" in python:
        return  # what this fixture shows came to the standard library with 3.11
    assert static == loaded
    assert json.dumps(static) == json.dumps(loaded), "the order of keys differs"


@pytest.mark.parametrize("python", pythons())
@pytest.mark.parametrize("file", files(FORMER))
def test_source_and_reflection_agree_under_the_rules_of_old_cogs(file: str, python: str) -> None:
    static = read(FORMER, file)
    assert static == reflected(FORMER, python)[file]
    assert "required" not in static["components"]["schemas"]["Input"]
    with pytest.raises(schema.SchemaError, match="Optional is not allowed as a return type") as caught:
        schema.read(FORMER, f"{file}:Predictor")
    assert "build.sdk_version" in (caught.value.hint or "")


@pytest.mark.parametrize("file", files(REFUSED))
def test_source_and_reflection_refuse_the_same(file: str) -> None:
    wanted = (REFUSED / file).read_text().split("# refused: ")[1].splitlines()[0]
    with pytest.raises(schema.SchemaError) as caught:
        read(REFUSED, file)
    assert wanted in caught.value.detail
    assert caught.value.detail.startswith(f"{file}:")
    assert caught.value.line > 0
    assert wanted in reflected(REFUSED, sys.executable)[file]["refused"]


@pytest.mark.parametrize("file", ["hello.py", "kitchen.py"])
def test_the_documents_are_those_that_cog_writes(file: str) -> None:
    wanted = json.loads((SPEC / f"{Path(file).stem}.json").read_text())
    document = schema.read(MODELS, f"{file}:Runner", version="dev")
    if file == "hello.py":
        assert document == wanted
    schemas = wanted["components"]["schemas"]
    assert {name: document["components"]["schemas"][name] for name in schemas} == schemas
    order = [list(found["properties"]) for found in schemas.values() if "properties" in found]
    made = [document["components"]["schemas"][name] for name, found in schemas.items() if "properties" in found]
    assert [list(found["properties"]) for found in made] == order
