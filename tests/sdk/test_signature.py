"""What a worker reads from a signature: how to fill, fetch and convert the values of a call."""

from __future__ import annotations

import enum
import functools
import pathlib
from typing import Any, Optional, Union

import pytest

from cog import File, Input, Path, Secret, reflection
from cog.reflection import SchemaError


class Color(enum.Enum):
    RED = "red"


class Runner:
    def run(
        self,
        a: str,
        b: int = 3,
        c: Optional[Path] = None,  # noqa: UP045
        d: list[Path] = Input(default=[]),  # noqa: B008
        e: Secret = Input(default=None),  # noqa: B008
        f: Union[str, int, None] = Input(description="or"),  # noqa: UP007
        g: Any = None,
        h: File = Input(default=None),  # noqa: B008
        i: pathlib.Path = pathlib.Path("x"),
        j: list[list[Secret]] | None = None,
        k: Color = Color.RED,
        *,
        last: bool = True,
        **rest: int,
    ) -> str: ...


def test_fields_tell_how_a_value_is_treated() -> None:
    found = reflection.signature(Runner().run)
    assert [field.name for field in found.fields] == [*"abcdefghijk", "last"]
    kinds = {field.name: (field.kind, field.is_list, field.optional) for field in found.fields}
    assert kinds == {
        "a": ("str", False, False),
        "b": ("int", False, False),
        "c": ("path", False, True),
        "d": ("path", True, False),
        "e": ("secret", False, True),
        "f": ("union", False, True),
        "g": ("any", False, False),
        "h": ("file", False, False),
        "i": ("path", False, False),
        "j": ("secret", True, True),
        "k": ("str", False, False),
        "last": ("bool", False, False),
    }
    with pytest.raises(KeyError):
        found["missing"]


def test_fields_tell_what_a_call_may_leave_out() -> None:
    found = reflection.signature(Runner().run)
    left_out = {field.name: field.default for field in found.fields if field.omittable}
    assert left_out == {
        "b": 3,
        "c": None,
        "d": [],
        "e": None,
        "f": None,
        "g": None,
        "h": None,
        "i": pathlib.Path("x"),
        "j": None,
        "k": Color.RED,
        "last": True,
    }
    assert [field.name for field in found.fields if field.required] == ["a", "g", "h"]


def test_a_function_behind_a_decorator_is_seen_through() -> None:
    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*arguments: Any, **keywords: Any) -> Any:
            return function(*arguments, **keywords)

        return wrapper

    @decorate
    def run(a: Path) -> str: ...

    assert reflection.signature(run)["a"].kind == "path"


def test_what_a_worker_cannot_interpret_is_passed_on_as_it_is() -> None:
    def run(a: NotDefinedAnywhere, b: set[int], c=1) -> str: ...  # type: ignore[no-untyped-def,name-defined]  # noqa: F821

    assert [field.kind for field in reflection.signature(run).fields] == ["any", "int", "any"]
    with pytest.raises(SchemaError, match="parameter 'a': cannot resolve type 'NotDefinedAnywhere'"):
        reflection.openapi(run)


def test_a_document_needs_a_type_for_everything() -> None:
    def no_return(a: int): ...  # type: ignore[no-untyped-def]

    def no_type(a) -> str: ...  # type: ignore[no-untyped-def]

    with pytest.raises(SchemaError, match="add a return type"):
        reflection.openapi(no_return)
    with pytest.raises(SchemaError, match="parameter 'a' on no_type has no type annotation"):
        reflection.openapi(no_type)


def test_models_of_other_libraries_are_told_by_their_fields() -> None:
    pydantic = pytest.importorskip("pydantic", reason="schemathesis brings it")

    class Inner(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        x: int = 1

    class Out(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        a: int
        b: str = "x"
        c: list[int] = pydantic.Field(default_factory=list)
        d: float = pydantic.Field(ge=0)
        inner: Inner
        _hidden: int = 3

    def run() -> None: ...

    run.__annotations__["return"] = Out
    Out.__annotations__["inner"] = Inner
    output = reflection.openapi(run)["components"]["schemas"]["Output"]
    assert list(output["properties"]) == ["a", "b", "c", "d", "inner"]
    assert output["required"] == ["a", "d", "inner"]
