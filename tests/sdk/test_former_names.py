"""The names that Cog has and had, imported and used as older models do."""

from __future__ import annotations

import asyncio
import base64
import datetime
import enum
import importlib
import io
import json
import mimetypes
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path as Folder
from typing import Any

import pytest

import cog
from cog import Path, current_scope
from cog.base_input import BaseInput
from cog.coder import Coder
from cog.command import openapi_schema
from cog.files import ensure_trailing_slash, guess_filename, upload_file
from cog.json import make_encodeable, upload_files
from cog.mimetypes_ext import install_mime_extensions
from cog.predictor import BasePredictor, get_input_type, get_output_type, get_predict, load_predictor_from_ref
from cog.schema import PredictionRequest, PredictionResponse, Status, TrainingRequest, WebhookEvent
from cog.scope import Scope, use
from cog.server.http import create_app
from cog.server.runner import PredictionRunner
from cog.server.scope import evolve_scope, scope
from cog.wait import wait_for_env, wait_for_file

NAMES = {
    "cog": "__version__ BaseRunner BasePredictor BaseModel Opaque Input FieldInfo Path Secret File URLFile URLPath"
    " ConcatenateIterator AsyncConcatenateIterator CancelationException current_scope streaming concurrent"
    " ExperimentalFeatureWarning emit_metric",
    "cog.base_input": "BaseInput Input",
    "cog.base_predictor": "BasePredictor",
    "cog.coder": "Coder",
    "cog.command.openapi_schema": "main",
    "cog.errors": "CogError ConfigDoesNotExist PredictorNotSet",
    "cog.exceptions": "CancelationException",
    "cog.ext.pipelines": "include",
    "cog.files": "guess_filename put_file_to_signed_endpoint upload_file",
    "cog.input": "FieldInfo Input",
    "cog.json": "make_encodeable upload_files",
    "cog.logging": "setup_logging",
    "cog.mimetypes_ext": "install_mime_extensions",
    "cog.mode": "Mode",
    "cog.model": "BaseModel",
    "cog.predictor": "BasePredictor BaseRunner extract_setup_weights get_healthcheck get_input_type get_output_type"
    " get_predict get_train get_training_input_type get_training_output_type get_weights_type has_setup_weights"
    " load_predictor_from_ref run_setup run_setup_async",
    "cog.schema": "PredictionRequest PredictionResponse Status TrainingRequest TrainingResponse WebhookEvent",
    "cog.server.exceptions": "CancelationException FatalWorkerException InvalidStateException",
    "cog.server.http": "create_app main",
    "cog.server.runner": "PredictionRunner RunnerBusyError UnknownPredictionError",
    "cog.server.scope": "Scope current_scope evolve_scope scope",
    "cog.server.worker": "emit_metric",
    "cog.suppress_output": "suppress_output",
    "cog.types": "AsyncConcatenateIterator CogBuildConfig CogConcurrencyConfig CogConfig ConcatenateIterator"
    " ExperimentalFeatureWarning File Input Path Secret URLFile URLPath Weights get_filename",
    "cog.wait": "wait_for_env wait_for_file",
}
SDK = Folder(cog.__file__).parent.parent

MODEL = """
from cog import BasePredictor, Input
from cog.types import Weights

class Predictor(BasePredictor):
    def setup(self, weights: Weights) -> None:
        self.weights = weights

    def predict(self, text: str, times: int = Input(default=2), seed: int = Input(default=None)) -> str:
        return text * times
"""


def python(code: str, *arguments: str, folder: Folder | None = None, isolated: bool = False, **environment: str) -> Any:
    """Python in a process of its own; `isolated`: with the SDK alone beside it."""
    return subprocess.run(
        [sys.executable, *(["-S"] if isolated else []), *(["-c", code] if code else []), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SDK), **environment},
    )


@pytest.mark.parametrize("module", sorted(NAMES))
def test_every_name_is_where_cog_has_or_had_it(module: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in NAMES[module].split() if not hasattr(found, name)] == []


def test_a_deprecated_name_is_told_once_from_whatever_place_it_comes() -> None:
    done = python(
        "import cog, cog.types\nprint(cog.types.ExperimentalFeatureWarning is cog.ExperimentalFeatureWarning)"
    )
    assert done.stdout == "True\n"
    assert len(done.stderr.splitlines()) == 1


def test_a_name_that_never_was_is_missing_where_names_are_made_late() -> None:
    for module in ("cog.types", "cog.predictor"):
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            _ = importlib.import_module(module).nothing


def test_a_cancel_can_be_caught_under_each_of_its_names() -> None:
    places = ("cog", "cog.errors", "cog.exceptions", "cog.server.exceptions")
    assert len({importlib.import_module(place).CancelationException for place in places}) == 1


# Helpers of older models


def test_a_scope_is_set_and_changed_for_a_block() -> None:
    recorded: list[tuple[str, object, str]] = []
    mine = Scope({"a": "1"}, lambda *seen: recorded.append(seen))
    with scope(mine), evolve_scope(context={"b": "2"}) as changed:
        assert current_scope() is changed
        assert changed.context == {"b": "2"}
        changed.record_metric("tokens", 3)
    assert recorded == [("tokens", 3, "replace")]
    assert mine.context == {"a": "1"}
    with pytest.raises(TypeError, match="a scope has no 'speed' to change"), evolve_scope(speed=1):
        pass


def test_emit_metric_records_in_the_running_prediction_from_its_oldest_place_too() -> None:
    recorded: list[tuple[str, object, str]] = []
    with use(Scope({}, lambda *seen: recorded.append(seen))):
        importlib.import_module("cog.server.worker").emit_metric("n", 1)
    assert recorded == [("n", 1, "replace")]


def test_statuses_and_events_are_texts() -> None:
    assert Status.FAILED == "failed"
    assert str(Status.CANCELED) == "canceled"
    assert [status.value for status in Status if Status.is_terminal(status)] == ["succeeded", "canceled", "failed"]
    assert WebhookEvent.default_events() == {"start", "output", "logs", "completed"}


def test_requests_and_responses_are_records() -> None:
    request = PredictionRequest.with_types(input_type=dict)(input={"a": 1}, id="x")
    assert request.dict(exclude_unset=True)["input"] == {"a": 1}
    assert "webhook" not in request.dict(exclude_unset=True)
    assert isinstance(TrainingRequest(input={}), PredictionRequest)
    assert PredictionResponse(input={}, status=Status.SUCCEEDED).dict()["status"] == "succeeded"


class Color(enum.Enum):
    RED = "red"


class Size(int, enum.Enum):
    BIG = 3


class Box(cog.BaseModel):
    color: Color
    made: datetime.date


def test_outputs_become_encodeable() -> None:
    found = make_encodeable({"box": Box(Color.RED, datetime.date(2024, 1, 2)), "n": (Size.BIG, {1})})
    assert json.dumps(found) == '{"box": {"color": "red", "made": "2024-01-02"}, "n": [3, [1]]}'
    with pytest.raises(TypeError, match="bytes is not JSON"):
        make_encodeable([b"x"])


def test_files_in_an_output_are_uploaded_one_by_one(tmp_path: Folder) -> None:
    (tmp_path / "a.txt").write_text("hi")
    found = upload_files({"a": [Path(tmp_path / "a.txt")], "b": io.BytesIO(b"x"), "c": 1}, upload_file)
    assert found == {
        "a": ["data:text/plain;base64," + base64.b64encode(b"hi").decode()],
        "b": "data:application/octet-stream;base64,eA==",
        "c": 1,
    }


class Receiver(BaseHTTPRequestHandler):
    """Keeps what is PUT to it."""

    def do_PUT(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.seen.append((self.path, self.headers["Content-Type"], self.rfile.read(length)))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def receiver() -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), Receiver)
    server.seen = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_file_is_put_below_a_prefix_under_its_own_name(tmp_path: Folder, receiver: Any) -> None:
    (tmp_path / "out.png").write_bytes(b"png")
    url = f"http://127.0.0.1:{receiver.server_port}/files"
    with (tmp_path / "out.png").open("rb") as file:
        assert upload_file(file, url) == f"{url}/out.png"
    assert receiver.seen == [("/files/out.png", "image/png", b"png")]
    with pytest.raises(ValueError, match="no http or https address"):
        upload_file(io.BytesIO(b"x"), "ftp://x")
    assert (guess_filename(io.BytesIO()), ensure_trailing_slash("a/")) == ("file", "a/")


def test_media_types_of_model_files_are_taught() -> None:
    table = mimetypes.MimeTypes()
    install_mime_extensions(table)
    assert table.guess_type("a.webp")[0] == "image/webp"
    assert table.guess_type("a.gltf")[0] == "model/gltf+json"


def test_waiting_ends_with_the_file_or_says_what_did_not_come(
    tmp_path: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = tmp_path / "late"
    timer = threading.Timer(0.05, late.touch)
    timer.start()
    monkeypatch.setenv("COG_WAIT_FILE", str(late))
    monkeypatch.setenv("COG_EAGER_IMPORTS", "colorsys, this_is_no_module")
    with pytest.raises(ModuleNotFoundError, match="this_is_no_module"):
        wait_for_env()
    assert late.exists()
    assert "colorsys" in sys.modules
    with pytest.raises(FileNotFoundError, match="which did not come"):
        wait_for_file(str(tmp_path / "never"), timeout=0)


def test_logging_goes_to_stderr() -> None:
    done = python("import logging; from cog.logging import setup_logging; setup_logging(); logging.debug('hello')")
    assert done.stderr.endswith("DEBUG root: hello\n")


def test_what_the_old_server_was_says_what_to_use_instead() -> None:
    with pytest.raises(RuntimeError, match="yard serve"):
        create_app(None, None)
    with pytest.raises(RuntimeError, match="yard serve"):
        PredictionRunner(predictor_ref="predict.py:Predictor")
    done = python("from cog.ext.pipelines import include; include('owner/name')", isolated=True)
    assert "ImportError: include('owner/name') needs Replicate's client: add `replicate`" in done.stderr


def test_the_server_says_what_it_lacks_in_a_python_without_its_packages() -> None:
    done = python("", "-m", "cog.server.http", isolated=True)
    assert done.returncode == 1
    assert "cannot start in this Python: No module named modelyard_runner" in done.stderr
    assert "yard serve" in done.stderr


# A model loaded by its author


@pytest.fixture
def project(tmp_path: Folder, monkeypatch: pytest.MonkeyPatch) -> Folder:
    (tmp_path / "predict.py").write_text(MODEL)
    (tmp_path / "cog.yaml").write_text('build:\n  python_version: "3.11"\npredict: "predict.py:Predictor"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_model_is_loaded_set_up_and_described(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_predictor_from_ref("predict.py:Predictor")
    assert isinstance(loaded, BasePredictor)
    monkeypatch.setenv("COG_WEIGHTS", "https://example.com/w.bin")
    assert importlib.import_module("cog.predictor").has_setup_weights(loaded)
    importlib.import_module("cog.predictor").run_setup(loaded)
    assert loaded.weights == "https://example.com/w.bin"
    assert get_predict(loaded)(text="a", times=3) == "aaa"
    assert get_output_type(loaded) is str
    inputs: Any = get_input_type(loaded)
    assert vars(inputs(text="b")) == {"text": "b", "times": 2, "seed": None}
    with pytest.raises(TypeError, match="missing inputs: text"):
        inputs(times=1)


def test_an_async_setup_is_run_to_its_end() -> None:
    class Model:
        async def setup(self) -> None:
            await asyncio.sleep(0)
            self.ready = True

    model = Model()
    importlib.import_module("cog.predictor").run_setup(model)
    assert model.ready


def test_inputs_remove_the_files_that_were_fetched_for_them() -> None:
    fetched = Path.validate("data:,text")
    assert isinstance(fetched, cog.URLPath)
    here = fetched.convert()
    BaseInput(image=fetched, text="x").cleanup()
    assert not here.exists()


def test_the_schema_is_printed_and_nothing_else(project: Folder) -> None:
    (project / "predict.py").write_text("print('loading')\n" + MODEL)
    done = python("", "-m", "cog.command.openapi_schema", folder=project)
    assert done.returncode == 0, done.stderr
    wanted = openapi_schema.schema(project)["components"]["schemas"]["Input"]
    assert json.loads(done.stdout)["components"]["schemas"]["Input"] == wanted
    assert wanted["required"] == ["text", "seed"]


def test_a_folder_that_names_no_model_has_no_schema(tmp_path: Folder) -> None:
    done = python("", "-m", "cog.command.openapi_schema", folder=tmp_path)
    assert done.returncode == 1
    assert "names no model; add the line" in done.stderr


def test_the_last_registered_coder_that_stands_for_a_type_is_found() -> None:
    class Point:
        x = 1

    class PointCoder(Coder):
        @staticmethod
        def factory(wanted: type) -> Coder | None:
            return PointCoder() if wanted is Point else None

        def encode(self, value: Any) -> dict[str, Any]:
            return {"x": value.x}

        def decode(self, value: dict[str, Any]) -> Any:
            return Point()

    assert Coder.lookup(Point) is None
    Coder.register(PointCoder)
    found = Coder.lookup(Point)
    assert isinstance(found, PointCoder)
    assert make_encodeable([Point()]) == [{"x": 1}]
    assert Coder.lookup(int) is None
