"""What an author writes with: base classes, decorators, inputs, models and values."""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path as Folder
from typing import ClassVar, Optional, Union

import pytest

import cog
from cog import (
    BaseModel,
    BasePredictor,
    BaseRunner,
    File,
    Input,
    Path,
    Secret,
    URLFile,
    URLPath,
    batch,
    concurrent,
    streaming,
)
from cog.types import get_filename

# Base classes and decorators


def test_either_name_of_the_method_answers_to_both() -> None:
    class New(BaseRunner):
        def run(self, x: int) -> int:
            return x + 1

    class Old(BasePredictor):
        def __init__(self) -> None:
            self.kept = 1

        def predict(self, x: int) -> int:
            return x + self.kept

    assert New().run(x=1) == Old().predict(x=1) == Old().run(x=1) == 2
    with pytest.warns(DeprecationWarning, match=r"New\.predict\(\) is deprecated; use run\(\) instead"):
        assert New().predict(x=1) == 2


def test_a_model_without_a_method_says_so() -> None:
    for call in (BaseRunner().run, BaseRunner().predict):
        with pytest.raises(NotImplementedError, match=r"run has not been implemented by parent class\."):
            call()
    assert BaseRunner().setup() is None


def test_decorators_mark_and_stack_in_any_order() -> None:
    @streaming
    @concurrent(max=3)
    async def one() -> None: ...

    @concurrent(max=2)
    @streaming()
    async def two() -> None: ...

    @concurrent
    def three() -> None: ...

    assert (one.__cog_streaming__, one.__cog_concurrent_max__) == (True, 3)  # type: ignore[attr-defined]
    assert (two.__cog_streaming__, two.__cog_concurrent_max__) == (True, 2)  # type: ignore[attr-defined]
    assert three.__cog_concurrent_max__ == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(("most", "error"), [(True, TypeError), ("3", TypeError), (0, ValueError), (-1, ValueError)])
def test_a_concurrency_that_is_no_count_is_refused(most: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="@concurrent max must be"):
        concurrent(max=most)  # type: ignore[call-overload]


def test_only_asynchronous_code_runs_concurrently() -> None:
    with pytest.raises(TypeError, match="async"):

        @concurrent(max=2)
        def run() -> None: ...


def test_a_batch_is_marked_with_its_numbers() -> None:
    @batch
    def one(text: list[str]) -> list[str]:
        return text

    @cog.batch(max_size=4, max_wait_ms=2.0)
    async def two(text: list[str]) -> list[str]:
        return text

    marks = [function.__cog_batch__ for function in (one, two)]  # type: ignore[attr-defined]
    assert [(mark.max_size, mark.max_wait_ms, mark.slots) for mark in marks] == [(8, 10, 16), (4, 2, 8)]
    assert one(["a"]) == ["a"]


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ({"max_size": 0}, "max_size must be from 1 to 10000, got 0"),
        ({"max_size": 2.0}, "max_size must be a whole number, got 2.0"),
        ({"max_size": True}, "max_size must be a whole number, got True"),
        ({"max_wait_ms": -1}, "max_wait_ms must not be negative, got -1"),
        ({"max_wait_ms": "1"}, "max_wait_ms must be a number of milliseconds, got '1'"),
        ({"max_wait_ms": float("nan")}, "max_wait_ms must be a number of milliseconds, got nan"),
    ],
)
def test_a_batch_with_numbers_that_mean_nothing_is_refused(numbers: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        batch(**numbers)  # type: ignore[call-overload]


def test_the_numbers_of_a_batch_have_names() -> None:
    with pytest.raises(TypeError, match=r"@batch\(max_size=8\)"):
        batch(8)  # type: ignore[type-var]


@pytest.mark.parametrize("other", [concurrent, streaming])
def test_a_batch_stands_beside_no_other_decorator_in_either_order(other: object) -> None:
    assert callable(other)

    def run(text: list[str]) -> list[str]:
        return text

    with pytest.raises(ValueError, match=f"@batch and @{other.__name__} exclude each other"):
        batch(other(run))

    def again(text: list[str]) -> list[str]:
        return text

    with pytest.raises(ValueError, match=f"@batch and @{other.__name__} exclude each other"):
        other(batch(again))


def test_inputs_are_frozen_and_have_no_factories() -> None:
    field = Input(3, description="d", choices=(1, 3))
    assert (field.default, field.choices, field.default_given) == (3, [1, 3], True)
    assert not Input(description="d").default_given
    assert Input(default=None).default_given
    with pytest.raises(dataclasses.FrozenInstanceError):
        field.default = 4
    with pytest.raises(TypeError, match=r"default_factory is not supported in Input\(\)"):
        Input(default_factory=list)


def test_a_cancel_is_not_swallowed_by_a_model_that_catches_exceptions() -> None:
    assert not issubclass(cog.CancelationException, Exception)


# The face of the package


def test_the_exported_names_exist() -> None:
    code = "import cog\nfor name in cog.__all__: getattr(cog, name)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment())
    assert [line.split()[1] for line in done.stderr.splitlines()] == ["ExperimentalFeatureWarning", "emit_metric()"]


def test_a_deprecated_name_is_told_once_and_a_missing_one_is_missing() -> None:
    code = (
        "import warnings, cog\n"
        "warnings.filterwarnings('ignore', category=cog.ExperimentalFeatureWarning)\n"
        "cog.ExperimentalFeatureWarning; cog.emit_metric('a', 1); cog.emit_metric('a', 1)\n"
        "print(hasattr(cog, 'nothing'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment())
    assert done.stdout == "False\n"
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize("version", ["3.10", "3.12", "3.13"])
def test_every_module_imports_on_every_python_that_models_use(version: str) -> None:
    found = sorted(Folder.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    top = Folder(cog.__file__).parent.parent
    files = [path.relative_to(top).with_suffix("") for path in top.glob("cog/**/*.py") if path.stem != "__init__"]
    code = "\n".join(f"import {'.'.join(file.parts)}" for file in files)
    for python in found[-1:] or [Folder(sys.executable)]:
        subprocess.run([str(python), "-S", "-W", "error", "-c", code], check=True, env=_environment())


def test_importing_it_loads_no_network_and_no_event_loop() -> None:
    code = "import sys, cog, cog.reflection; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, env=_environment()
    )
    heavy = {
        "asyncio",
        "http",
        "ssl",
        "socket",
        "subprocess",
        "tempfile",
        "shutil",
        "email",
        "multiprocessing",
        "logging",
    }
    assert not heavy & set(done.stdout.split())


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": str(Folder(cog.__file__).parent.parent), "PATH": os.environ["PATH"]}


# Models


class Out(BaseModel):
    text: str
    VERSION: ClassVar[str] = "1"
    maybe: Optional[int]  # noqa: UP045 - authors write both
    late: int
    other: int | None


class More(Out):
    union: Union[str, None]  # noqa: UP007
    extra: str
    last: int | None = 3


def test_a_model_is_a_dataclass_whose_optional_fields_may_be_left_out() -> None:
    assert Out(text="a", late=1) == Out("a", None, 1, None)
    assert Out("a", 2, 1).maybe == 2
    assert dataclasses.asdict(More(text="a", late=1, extra="b")) == {
        "text": "a",
        "maybe": None,
        "late": 1,
        "other": None,
        "union": None,
        "extra": "b",
        "last": 3,
    }
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'late'"):
        Out(text="a")
    with pytest.raises(TypeError, match="unexpected keyword"):
        Out(text="a", late=1, nothing=2)


def test_keywords_of_the_class_go_to_the_dataclass() -> None:
    class Frozen(BaseModel, frozen=True):
        a: int

    class Plain(BaseModel, auto_dataclass=False):
        a: int

    class Own(BaseModel):
        a: int | None

        def __init__(self) -> None:
            self.a = 5

    with pytest.raises(dataclasses.FrozenInstanceError):
        Frozen(a=1).a = 2  # type: ignore[misc]
    assert not dataclasses.is_dataclass(Plain)
    assert Own().a == 5


def test_models_are_not_mixed_with_dataclasses() -> None:
    @dataclasses.dataclass
    class Data:
        a: int

    with pytest.raises(TypeError, match=r'Primary base class of "Bad" must inherit from BaseModel'):

        class Bad(Data, BaseModel): ...

    with pytest.raises(TypeError, match="Cannot mix"):

        class Mixed(BaseModel, Data): ...

    with pytest.raises(ValueError, match="auto_dataclass=False"):

        class Child(Out, auto_dataclass=False): ...


# Values


def test_a_secret_is_not_shown() -> None:
    secret = Secret("pw")
    assert (str(secret), repr(secret), f"{secret}") == ("**********", "Secret(**********)", "**********")
    assert (str(Secret()), repr(Secret()), secret.get_secret_value()) == ("", "Secret()", "pw")
    assert {secret} == {Secret("pw")}


def test_a_path_is_a_path_whatever_it_is_made_of() -> None:
    path = Path("a") / "b.txt"
    assert isinstance(path, Path)
    assert isinstance(path, Folder)
    assert Path.validate(path) is path
    assert Path.validate("a/b") == Folder("a/b")
    assert pickle.loads(pickle.dumps(path)) == path


def test_data_urls_become_files(tmp_path: Folder) -> None:
    found = Path.validate("data:image/png;base64,aGVsbG8=")
    assert isinstance(found, URLPath)
    assert str(found) == "data:image/png;base64,aGVsbG8="
    file = found.convert()
    assert (file.read_bytes(), file.suffix, found.convert()) == (b"hello", ".png", file)
    found.unlink()
    assert not file.exists()
    found.unlink()
    assert File.validate("data:,a%20b").read() == b"a b"  # type: ignore[attr-defined]
    opened = io.BytesIO()
    assert File.validate(opened) is opened


@pytest.mark.parametrize("value", ["a/path", "ftp://x/y", "", "data:no comma"])
def test_a_file_is_a_url_that_can_be_read(value: str) -> None:
    with pytest.raises(
        ValueError, match=r"is not a valid URL scheme\. 'data', 'http', or 'https' is supported|needs a comma"
    ):
        File.validate(value)
    with pytest.raises(ValueError, match="requires URL to conform"):
        URLFile("file:///etc/passwd")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://x.org/a/cat%20one.png?x=1#y", "cat one.png"),
        ("https://x.org/", ""),
        ("https://x.org/a%2Fb.png", "a_b.png"),
        ("https://x.org/" + "é" * 300 + ".jpeg", "é" * 97 + "~.jpeg"),
        ("data:image/jpeg;base64,x", "file.jpg"),
        ("data:text/plain;charset=utf-8,x", "file.txt"),
        ("data:,x", "file.txt"),
        ("data:application/x-unheard-of,x", "file"),
    ],
)
def test_a_file_is_named_for_its_url(url: str, name: str) -> None:
    assert get_filename(url) == name
    assert len(get_filename(url).encode()) <= 200


class Handler(BaseHTTPRequestHandler):
    agents: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.agents.append(self.headers["User-Agent"])
        self.send_response(200 if "missing" not in self.path else 404)
        self.end_headers()
        self.wfile.write(b"line 1\nline 2\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    made = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()
    thread.join()


def test_a_url_file_is_fetched_as_it_is_read(server: str) -> None:
    found = pickle.loads(pickle.dumps(File.validate(f"{server}/a.txt")))
    assert isinstance(found, URLFile)
    assert found.name == "a.txt"
    with found:
        assert found.readline() == b"line 1\n"
        assert found.read() == b"line 2\n"
    path = Path.validate(f"{server}/b.txt")
    assert isinstance(path, URLPath)
    assert path.convert().read_text() == "line 1\nline 2\n"
    path.unlink()


def test_a_url_that_is_not_there_is_an_error_when_it_is_read(server: str) -> None:
    missing = URLFile(f"{server}/missing")
    with pytest.raises(OSError, match="404"):
        missing.read()


def test_output_can_be_silenced_down_to_child_processes(capfd: pytest.CaptureFixture[str]) -> None:
    from cog.suppress_output import suppress_output

    with suppress_output():
        os.system("echo child")
        os.write(2, b"native\n")
    os.write(1, b"after\n")
    assert capfd.readouterr() == ("after\n", "")


def test_nothing_here_warns_by_itself() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Secret("a"), Input(default=1), Path("x")
