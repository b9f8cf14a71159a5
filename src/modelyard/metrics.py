"""What runs, in the text form that Prometheus reads: facts are asked for and counts are folded when somebody looks.

Labels have few values: a model's full name, a status, a state, a class of routes. Nothing that callers make up, and
counts of at most `measures.MODELS` models by name.
"""

from __future__ import annotations

import asyncio
import platform
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from modelyard import rest
from modelyard.db.base import Database
from modelyard.exchange import Exchanges
from modelyard.machine import Machine, Seen
from modelyard.measures import OTHERS, Histogram
from modelyard.models.service import Models
from modelyard.overview import Counts, Disk, Overview
from modelyard.predictions.record import TERMINAL
from modelyard.predictions.tally import Tally

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

PATH = "/metrics"
_STATUSES = ("ready", "degraded", "stopping")
_STATES = ("starting", "idle", "busy", "draining")
# What is measured of a model that was deleted meanwhile.
_GONE = "(deleted)"


Labels = tuple[tuple[str, str], ...]
Values = Mapping[Labels, float] | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where everything that is shown comes from."""

    overview: Overview
    machine: Machine
    models: Models
    predictions: Tally
    db: Database
    exchanges: Exchanges
    # When the yard's own certificate expires, in seconds since 1970; None without one.
    certificate_expires: Callable[[], float | None] = lambda: None


def make_routes(sources: Sources, may_read: Callable[[Request], Awaitable[object]]) -> list[BaseRoute]:
    """`GET /metrics`, for whom `may_read` lets through; it raises for the others."""

    async def get(request: Request) -> Response:
        await may_read(request)
        body, content_type = await render(sources, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})

    return [rest.resource(PATH, GET=get)]


async def render(sources: Sources, accept: str = "") -> tuple[bytes, str]:
    """Everything at this moment, and its content type: OpenMetrics for those who accept it, else the older text."""
    seen = sources.machine.observe()
    names = await _names(sources.models, seen)
    counts, disk = await sources.overview.counts(), await sources.overview.disk()

    def facts() -> list[Metric]:
        return [
            *_yard(sources),
            *_queue(seen, names),
            *_instances(seen, names),
            *_setups(seen, names),
            *_machine(seen),
            *_predictions(sources.predictions),
            *_commits(sources.db),
            *_kept(counts, disk),
            *_http(sources.exchanges),
        ]

    # Many models are many lines; nobody else's answer waits for them.
    return await asyncio.to_thread(_written, facts, accept)


def _written(facts: Callable[[], list[Metric]], accept: str) -> tuple[bytes, str]:
    # Only a yard that is looked at this way needs the library.
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Found(facts()))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Found:
    """What the library calls a collector, of what was collected already."""

    def __init__(self, facts: list[Metric]) -> None:
        self._facts = facts

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> list[Metric]:
        return self._facts


async def _names(models: Models, seen: Seen) -> dict[str, str]:
    wanted = {pool.model_id for pool in seen.pools} | {each.model_id for each in seen.instances} | seen.setups.keys()
    found = {model_id: await models.get_by_id(model_id) for model_id in wanted - {OTHERS}}
    names = {model_id: _GONE if model is None else model.full_name for model_id, model in found.items()}
    return {**names, OTHERS: OTHERS}


# -- rooms, one after the other


def _yard(sources: Sources) -> Iterator[Metric]:
    overview = sources.overview
    about = {"version": overview.version, "python": platform.python_version(), "database": sources.db.dialect}
    yield _gauge("build_info", "The yard's version, its Python and its database; always 1.", {tuple(about.items()): 1})
    yield _gauge("start_time_seconds", "When this process started, in seconds since 1970.", overview.started_at / 1e6)
    status = overview.status
    yield _gauge(
        "status",
        "1 at what the yard is: ready, degraded (it refuses some work, such as on a full disk) or stopping.",
        {(("status", each),): int(each == status) for each in _STATUSES},
    )
    expires = sources.certificate_expires()
    if expires is not None:
        yield _gauge("certificate_expires_time_seconds", "When the yard's own certificate expires.", expires)


def _queue(seen: Seen, names: Mapping[str, str]) -> Iterator[Metric]:
    waiting: Counter[str] = Counter()
    oldest: dict[str, float] = defaultdict(float)
    blocked: dict[str, int] = defaultdict(int)
    for pool in seen.pools:
        model = names[pool.model_id]
        waiting[model] += pool.waiting
        oldest[model] = max(oldest[model], pool.oldest_wait_seconds)
        blocked[model] |= int(pool.problem is not None)
    yield _gauge("queue_length", "Predictions that wait for an instance.", _by("model", waiting))
    yield _gauge("queue_oldest_wait_seconds", "How long the first of them has waited.", _by("model", oldest))
    yield _gauge("queue_blocked", "1 where no instance can be started for them now.", _by("model", blocked))


def _instances(seen: Seen, names: Mapping[str, str]) -> Iterator[Metric]:
    states = Counter(each.state for each in seen.instances)
    of_models = Counter((names[each.model_id], each.state) for each in seen.instances)
    running: Counter[str] = Counter()
    for each in seen.instances:
        running[names[each.model_id]] += len(each.running)
    yield _gauge("instances", "Instances by state.", _by("state", {**dict.fromkeys(_STATES, 0), **states}))
    labelled: dict[Labels, float] = {
        (("model", model), ("state", state)): number for (model, state), number in of_models.items()
    }
    yield _gauge("model_instances", "Instances by model and state.", labelled)
    yield _gauge("predictions_running", "Predictions that instances have.", _by("model", running))


def _setups(seen: Seen, names: Mapping[str, str]) -> Iterator[Metric]:
    ready: dict[Labels, Histogram] = {}
    failed: Counter[str] = Counter()
    for model_id, setups in seen.setups.items():
        # Deleted ones have one name, and so one line, together.
        name = names[model_id]
        label = (("model", name),)
        ready[label] = ready[label].with_those_of(setups.ready) if label in ready else setups.ready
        failed[name] += setups.failed
    yield _histogram("setup_seconds", "From the start of an instance's process until it was ready.", ready)
    yield _counter("setups_failed", "Instances that never became ready.", _by("model", failed))


def _machine(seen: Seen) -> Iterator[Metric]:
    taken = [gpu for each in seen.instances for gpu in each.gpus]
    yield _gauge("machine_cpus", "Cores of this machine.", seen.cores)
    yield _gauge("machine_memory_bytes", "Memory of this machine.", seen.memory_bytes)
    yield _gauge("machine_gpus", "GPUs of this machine.", len(seen.gpus))
    yield _gauge("reserved_cpus", "Cores that instances are given.", sum(each.cpus for each in seen.instances))
    reserved = sum(each.memory_bytes for each in seen.instances)
    yield _gauge("reserved_memory_bytes", "Memory that instances are given.", reserved)
    yield _gauge("reserved_gpus", "GPUs that instances are given.", len(set(taken)))


def _predictions(tally: Tally) -> Iterator[Metric]:
    models = dict(tally.models)
    ended: dict[Labels, float] = {
        (("model", name), ("status", status.value)): model.ended.get(status, 0)
        for name, model in models.items()
        for status in sorted(TERMINAL)
    }
    yield _counter("predictions_ended", "Predictions that ended, since this process started.", ended)
    yield _histogram(
        "prediction_queued_seconds",
        "From accepted until the model began, with the start of an instance where one was needed.",
        {(("model", name),): model.queued for name, model in models.items()},
    )
    yield _histogram(
        "prediction_run_seconds",
        "From when the model began until the end.",
        {(("model", name),): model.ran for name, model in models.items()},
    )


def _commits(db: Database) -> Iterator[Metric]:
    pace = db.pace
    yield _histogram("commit_seconds", "Commits to the database, each of many writes.", {(): pace.commits})
    yield _counter("writes", "Writes that were committed or refused.", pace.writes)
    yield _gauge("writes_waiting", "Writes that wait for a commit.", pace.waiting)


def _kept(counts: Counts, disk: Disk) -> Iterator[Metric]:
    yield _gauge("models", "Models of this yard.", counts.models)
    yield _gauge("versions", "Versions of them.", counts.versions)
    yield _gauge("disk_free_bytes", "Free on the disk that holds the data folder.", disk.free)
    yield _gauge("disk_total_bytes", "Size of that disk.", disk.total)
    folders = _by("part", disk.folders or {})
    yield _gauge("data_bytes", "What the parts of the data folder take, measured now and then.", folders)


def _http(exchanges: Exchanges) -> Iterator[Metric]:
    counted = tuple(exchanges.answered.items())
    answered: dict[Labels, float] = {
        (("route", route), ("status", str(status))): number for (route, status), number in counted
    }
    yield _counter("http_requests", "Requests that were answered.", answered)
    yield _histogram(
        "http_request_seconds",
        "Until an answer began; a caller may ask it to wait for a prediction's end.",
        {(("route", route),): seconds for route, seconds in tuple(exchanges.seconds.items())},
    )
    yield _gauge("http_requests_open", "Requests that are being answered, streams that are being read.", exchanges.open)


# -- the library's families


def _by(label: str, values: Mapping[str, float]) -> dict[Labels, float]:
    return {((label, name),): value for name, value in values.items()}


def _gauge(name: str, about: str, values: Values) -> Metric:
    from prometheus_client.metrics_core import GaugeMetricFamily

    return _filled(GaugeMetricFamily(f"modelyard_{name}", about), values)


def _counter(name: str, about: str, values: Values) -> Metric:
    from prometheus_client.metrics_core import CounterMetricFamily

    return _filled(CounterMetricFamily(f"modelyard_{name}", about), values, "_total")


def _filled(family: Any, values: Values, suffix: str = "") -> Metric:
    each: Iterable[tuple[Labels, float]] = values.items() if isinstance(values, Mapping) else [((), values)]
    for labels, value in each:
        family.add_sample(family.name + suffix, dict(labels), value)
    metric: Metric = family
    return metric


def _histogram(name: str, about: str, values: Mapping[Labels, Histogram]) -> Metric:
    from prometheus_client.metrics_core import HistogramMetricFamily

    family = HistogramMetricFamily(f"modelyard_{name}", about)
    for labels, histogram in values.items():
        plain = dict(labels)
        cumulative = histogram.cumulative()
        for bound, number in cumulative:
            shown = "+Inf" if bound == float("inf") else str(bound)
            family.add_sample(family.name + "_bucket", {**plain, "le": shown}, number)
        family.add_sample(family.name + "_count", plain, cumulative[-1][1])
        family.add_sample(family.name + "_sum", plain, histogram.total)
    return family
