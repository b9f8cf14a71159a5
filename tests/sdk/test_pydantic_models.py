"""Subclasses of `BaseModel` whose author uses pydantic, with the real one."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from abc import ABC
from pathlib import Path as Folder
from typing import Any

import pydantic
import pytest

import cog
from cog import BaseModel, File, Path, Secret, hints
from cog.schema import Status


class Plain(BaseModel):
    text: str
    status: Status | None


def test_a_plain_one_is_a_dataclass_and_checks_nothing() -> None:
    assert dataclasses.is_dataclass(Plain)
    assert Plain(3, None).text == 3  # type: ignore[arg-type,comparison-overlap]
    assert not issubclass(Plain, pydantic.BaseModel)


class Foreign:
    pass


def test_one_that_uses_pydantic_takes_fields_of_every_type_unless_it_says_otherwise() -> None:
    class Checked(BaseModel):
        thing: Foreign
        count: int = pydantic.Field(ge=1)

    class Closed(BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid")
        thing: Foreign

    assert [type(made.thing) for made in (Checked(thing=Foreign(), count=1), Closed(thing=Foreign()))] == [Foreign] * 2
    with pytest.raises(pydantic.ValidationError):
        Closed(thing=Foreign(), other=1)  # type: ignore[call-arg]
    with pytest.raises(pydantic.PydanticSchemaGenerationError):

        class Strict(BaseModel):
            model_config = pydantic.ConfigDict(arbitrary_types_allowed=False)
            thing: Foreign


def test_older_calls_on_a_plain_one_are_answered() -> None:
    made: Any = Plain(text="a", status=None)
    assert made.dict() == made.model_dump() == {"text": "a", "status": None}
    assert made.copy(update={"text": "b"}) == Plain(text="b", status=None)
    with pytest.raises(AttributeError, match="'Plain' object has no attribute 'jsom'"):
        _ = made.jsom

    class Named(BaseModel):
        dict: str

    assert Named(dict="mine").dict == "mine"


def test_abstract_classes_may_be_mixed_in() -> None:
    class Mixed(BaseModel, ABC):
        a: int

    assert Mixed(a=1).a == 1


def with_field() -> Any:
    class Scored(BaseModel):
        score: float = pydantic.Field(ge=0)

    return Scored


def with_config() -> Any:
    class Scored(BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid")
        score: float

    return Scored


def with_keyword() -> Any:
    class Scored(BaseModel, extra="forbid"):
        score: float

    return Scored


def with_validator() -> Any:
    class Scored(BaseModel):
        score: float

        @pydantic.field_validator("score")
        @classmethod
        def check(cls, value: float) -> float:
            return value

    return Scored


def with_type() -> Any:
    namespace = {"__annotations__": {"score": pydantic.confloat(ge=0)}, "__module__": __name__}
    return type(BaseModel)("Scored", (BaseModel,), namespace)


Positive = pydantic.confloat(ge=0)


def with_text() -> Any:
    class Scored(BaseModel):
        score: Positive  # type: ignore[valid-type]

    return Scored


@pytest.mark.parametrize("make", [with_text, with_field, with_config, with_keyword, with_validator, with_type])
def test_one_that_uses_pydantic_is_a_model_of_pydantics(make: Any) -> None:
    scored = make()
    assert issubclass(scored, pydantic.BaseModel)
    assert issubclass(scored, BaseModel)
    assert isinstance(scored(score="1.5"), BaseModel)
    assert scored(score="1.5").model_dump() == {"score": 1.5}
    with pytest.raises(pydantic.ValidationError):
        scored(score="much")


def test_a_field_of_a_pydantic_model_makes_no_pydantic_model() -> None:
    namespace = {"__annotations__": {"inner": with_field()}, "__module__": __name__}
    assert dataclasses.is_dataclass(type(BaseModel)("Outer", (BaseModel,), namespace))


def test_models_of_a_pydantic_one_are_pydantics_and_its_fields_are_read() -> None:
    scored = with_field()

    class More(scored):  # type: ignore[misc]
        label: str = "x"

    found = hints.read(More, {})
    assert [(field.name, field.type.kind, field.required) for field in found.fields] == [
        ("score", "float", True),
        ("label", "str", False),
    ]


def test_fields_may_be_files_and_secrets() -> None:
    class Out(pydantic.BaseModel):
        image: Path
        audio: File | None = None
        key: Secret = Secret("hidden")
        images: list[Path] = []

    made = Out(image="/tmp/a.png", images=["b.png"])  # type: ignore[arg-type,list-item]
    assert isinstance(made.image, Path)
    assert made.model_dump()["images"] == [Path("b.png")]
    assert "hidden" not in repr(made)
    properties = Out.model_json_schema()["properties"]
    assert properties["image"]["format"] == "uri"
    assert properties["key"]["format"] == "password"


def test_a_dataclass_under_a_pydantic_one_says_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"derive Plain from pydantic\.BaseModel"):

        class Wrong(Plain):
            score: float = pydantic.Field(ge=0)


CODE = """
import cog
class Out(cog.BaseModel):
    text: str
print(Out.__mro__[1].__module__, Out(text="a").model_dump())
"""


def run(code: str, *flags: str, **environment: str) -> Any:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Folder(cog.__file__).parent.parent), **environment}
    return subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=False, env=env)


def test_every_one_is_pydantics_in_a_project_written_for_an_older_cog() -> None:
    done = run(CODE, MODELYARD_PYDANTIC="1")
    assert done.stdout == "pydantic.main {'text': 'a'}\n", done.stderr
    assert run(CODE).stdout == "cog.model {'text': 'a'}\n"


def test_a_missing_pydantic_is_named_with_the_class_that_needs_it() -> None:
    done = run(CODE, "-S", MODELYARD_PYDANTIC="1")
    assert "ImportError: Out uses pydantic, which this environment does not have: add `pydantic`" in done.stderr


def test_pydantic_is_not_loaded_for_models_without_it() -> None:
    code = "import sys, cog\nclass A(cog.BaseModel):\n    a: int\nprint('pydantic' in sys.modules)"
    assert run(code).stdout == "False\n"
