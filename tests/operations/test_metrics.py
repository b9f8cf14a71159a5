"""`/metrics` of a yard that works: who may read it, what it says, and that it says it in both of its forms."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import certificates
import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.faults.yard import TOKEN, Yard

MODEL = """
import time
from cog import BaseRunner

class Runner(BaseRunner):
    def run(self, text: str = "", seconds: float = 0.0, fail: bool = False) -> str:
        time.sleep(seconds)
        if fail:
            raise ValueError("as it was told")
        return text
"""


def numbers(reply: httpx.Response) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    assert reply.status_code == 200, reply.text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(reply.text)
        for sample in family.samples
    }


class Metrics:
    """What a yard says now."""

    def __init__(self, yard: Yard) -> None:
        self._found = numbers(yard.http.get("/metrics"))

    def __call__(self, name: str, **labels: str) -> float:
        return self._found[f"modelyard_{name}", frozenset(labels.items())]

    def names(self) -> set[str]:
        return {name for name, _ in self._found}


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Yard, str]]:
    """A yard on which two predictions succeeded and one failed."""
    yard = Yard(tmp_path_factory.mktemp("worked")).start()
    version = yard.push("echo", MODEL)
    for values in ({"text": "a"}, {"text": "b"}, {"fail": True}):
        yard.finished(yard.create(version, values)["id"])
    yield yard, version
    yard.end()


@pytest.fixture
def any_yard(worked: tuple[Yard, str]) -> Yard:
    """One that runs, whatever it did before."""
    return worked[0]


def test_what_ended_is_counted_by_model_and_status_with_how_long_it_took(worked: tuple[Yard, str]) -> None:
    yard, _ = worked
    now = Metrics(yard)
    assert now("predictions_ended_total", model="yard/echo", status="succeeded") == 2
    assert now("predictions_ended_total", model="yard/echo", status="failed") == 1
    assert now("predictions_ended_total", model="yard/echo", status="canceled") == 0
    assert now("predictions_ended_total", model="yard/echo", status="aborted") == 0
    assert now("prediction_run_seconds_count", model="yard/echo") == 3
    assert now("prediction_run_seconds_bucket", model="yard/echo", le="+Inf") == 3
    # The first one waited for its instance.
    assert now("prediction_queued_seconds_sum", model="yard/echo") > 0
    assert now("instances", state="idle") == 1
    assert now("instances", state="busy") == 0
    assert now("model_instances", model="yard/echo", state="idle") == 1
    assert now("reserved_memory_bytes") > 0
    assert now("models") == now("versions") == 1


def test_what_waits_and_runs_is_seen_while_it_does(worked: tuple[Yard, str]) -> None:
    yard, version = worked
    before = Metrics(yard)("predictions_ended_total", model="yard/echo", status="canceled")
    ids = [yard.create(version, {"seconds": 30})["id"] for _ in range(3)]
    yard.until(ids[0], lambda shown: shown["status"] == "processing")
    now = Metrics(yard)
    assert now("queue_length", model="yard/echo") == 2
    assert now("queue_oldest_wait_seconds", model="yard/echo") > 0
    assert now("queue_blocked", model="yard/echo") == 0
    assert now("predictions_running", model="yard/echo") == 1
    assert now("instances", state="busy") == 1
    for each in reversed(ids):
        yard.http.post(f"/v1/predictions/{each}/cancel")
    for each in ids:
        yard.finished(each)
    now = Metrics(yard)
    assert now("predictions_ended_total", model="yard/echo", status="canceled") == before + 3
    assert now("queue_length", model="yard/echo") == 0


def test_commits_disk_and_requests_are_counted(worked: tuple[Yard, str]) -> None:
    yard, _ = worked
    assert yard.http.get("/v1/nothing").status_code == 404
    assert yard.http.get("/v1/models").status_code == 200
    before = Metrics(yard)
    assert before("commit_seconds_count") > 3
    assert before("writes_total") >= before("commit_seconds_count")
    assert 0 < before("disk_free_bytes") <= before("disk_total_bytes")
    assert before("data_bytes", part="database") > 0
    assert before("http_requests_total", route="other", status="404") == 1
    assert before("http_requests_total", route="predictions", status="201") >= 3
    assert before("http_request_seconds_count", route="predictions") >= 3
    assert before("http_requests_open") == 1
    again = Metrics(yard)("http_requests_total", route="metrics", status="200")
    assert again == 1 + before("http_requests_total", route="metrics", status="200")
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", yard.http.get("/v1/yard").json()["version"])
    assert before("status", status="ready") == 1
    assert before("status", status="degraded") == 0


def test_only_the_owner_reads_them_unless_the_yard_is_told_otherwise(
    any_yard: Yard, make_yard: Callable[..., Yard]
) -> None:
    yard = any_yard
    assert httpx.get(f"{yard.url}/metrics").status_code == 401
    wrong = httpx.get(f"{yard.url}/metrics", headers={"authorization": "Bearer r8_" + "x" * 37})
    assert wrong.status_code == 401
    assert yard.http.post("/metrics").status_code == 405
    assert yard.http.head("/metrics").status_code == 200
    everybody = make_yard("everybody", settings={"MODELYARD_METRICS": "open"}).start()
    assert numbers(httpx.get(f"{everybody.url}/metrics"))
    nobody = make_yard("nobody", settings={"MODELYARD_METRICS": "off"}).start()
    assert nobody.http.get("/metrics").status_code == 404


def test_both_forms_are_understood_by_their_parsers_and_say_the_same(worked: tuple[Yard, str]) -> None:
    yard, _ = worked
    accept = "application/openmetrics-text;version=1.0.0"
    reply = yard.http.get("/metrics", headers={"accept": accept})
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name for family in parse_openmetrics(reply.text)}
    plain = {family.name.removesuffix("_total") for family in parse(yard.http.get("/metrics").text)}
    assert {name for name in families if name.startswith("modelyard_")} == {
        name for name in plain if name.startswith("modelyard_")
    }
    assert "process_resident_memory_bytes" in families


def test_every_metric_is_described_in_the_guide(worked: tuple[Yard, str]) -> None:
    guide = (Path(__file__).parents[2] / "docs/guides/server.md").read_text()
    named = {f"modelyard_{name}" for name in re.findall(r"`modelyard_(\w+)", guide)}
    yard, _ = worked
    shown = set(re.findall(r"^# TYPE (modelyard_\w+)", yard.http.get("/metrics").text, re.MULTILINE))
    assert shown | {"modelyard_certificate_expires_time_seconds"} == named


def test_a_name_with_markup_in_it_is_no_label_of_ours(any_yard: Yard) -> None:
    yard = any_yard
    for path in ("/v1/%0Amodelyard_up%201", '/x"}%201', "/v1/models/a/b%22%7D/predictions"):
        yard.http.get(path)
    routes = {
        str(sample.labels["route"])
        for family in parse(yard.http.get("/metrics").text)
        for sample in family.samples
        if sample.name == "modelyard_http_requests_total"
    }
    assert routes <= {"other", "pages", "predictions", "health", "metrics", "models", "registry", "yard", "static"}


def test_the_log_as_json_has_the_ids_by_which_one_request_is_followed(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard(settings={"MODELYARD_LOG_FORMAT": "json", "MODELYARD_LOG_LEVEL": "debug"}).start()
    version = yard.push("echo", MODEL)
    made = yard.create(version, {"text": "a"}, **{"X-Request-Id": "mine-1"})
    yard.finished(made["id"])
    assert "/login/" not in yard.log()
    linked = yard.http.get("/login/not-a-link-at-all")
    assert linked.headers["x-request-id"]
    yard.stop()
    lines = [json.loads(line) for line in (yard.folder / "yard.log").read_text().splitlines()]
    assert {"ts", "level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
    accepted = next(line for line in lines if line["message"] == "a prediction is accepted")
    assert (accepted["request_id"], accepted["prediction_id"], accepted["model"]) == ("mine-1", made["id"], "yard/echo")
    ended = next(line for line in lines if line["message"].startswith("a prediction has ended"))
    assert ended["prediction_id"] == made["id"]
    ready = next(line for line in lines if line["message"] == "an instance is ready")
    assert ended["instance_id"] == ready["instance_id"]
    assert ready["version_id"] == version
    answered = next(line for line in lines if line["message"] == "answered" and line["request_id"] == "mine-1")
    assert (answered["method"], answered["path"], answered["status"]) == ("POST", "/v1/predictions", 201)
    assert any(str(line["message"]).startswith("Yard ready at") for line in lines)
    written = (yard.folder / "yard.log").read_text()
    assert "not-a-link-at-all" not in written
    assert TOKEN not in written


@pytest.mark.parametrize("path", ["/v1/models", "/v1/nothing", "/healthz", "/", "/v2/", "/static/x/y", "/metrics"])
def test_every_reply_has_a_request_id_whoever_makes_it(any_yard: Yard, path: str) -> None:
    yard = any_yard
    reply = httpx.get(yard.url + path)
    assert re.fullmatch(r"[0-9a-z]{10}-\d+", reply.headers["x-request-id"])
    assert httpx.get(yard.url + path, headers={"x-request-id": "mine"}).headers["x-request-id"] == "mine"


def test_the_certificates_expiry_is_a_metric(make_yard: Callable[..., Yard], tmp_path: Path) -> None:
    pair = certificates.make(tmp_path, days=20)
    yard = make_yard(settings={"MODELYARD_TLS_CERT": str(pair.chain), "MODELYARD_TLS_KEY": str(pair.key)})
    yard.launch()
    client = httpx.Client(verify=False, headers={"authorization": f"Bearer {TOKEN}"})
    for _ in range(200):
        try:
            found = numbers(client.get(f"https://127.0.0.1:{yard.port}/metrics"))
            break
        except httpx.HTTPError:
            time.sleep(0.1)
    expires = found["modelyard_certificate_expires_time_seconds", frozenset()]
    began = found["modelyard_start_time_seconds", frozenset()]
    assert 19 < (expires - began) / 86400 < 21


def test_setups_are_counted_with_how_long_they_took_and_those_that_failed(any_yard: Yard) -> None:
    yard = any_yard
    broken = yard.push("broken", MODEL.replace("    def run", "    def setup(self):\n        1 / 0\n\n    def run"))
    assert yard.finished(yard.create(broken, {})["id"])["status"] == "failed"
    now = Metrics(yard)
    assert now("setup_seconds_count", model="yard/echo") >= 1
    assert now("setup_seconds_sum", model="yard/echo") > 0
    assert now("setups_failed_total", model="yard/echo") == 0
    assert now("setup_seconds_count", model="yard/broken") == 0
    assert now("setups_failed_total", model="yard/broken") >= 1
