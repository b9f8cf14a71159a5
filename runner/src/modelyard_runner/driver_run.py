"""One prediction that a Cog server runs, told to the yard as our own worker would tell it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from modelyard_runner import driver_values as values
from modelyard_runner.driver_api import Api, ApiError, RefusedError
from modelyard_runner.driver_hook import Hook
from modelyard_runner.job import Job
from modelyard_runner.link import Link
from modelyard_runner.outputs import OutputError

# A Cog server is busy for a moment after its reply; one that stays so has lost its worker.
BUSY_SECONDS, BUSY_PAUSE = 10.0, 0.02
# A reply may come before the webhook that has the logs.
LOGS_SECONDS = 2.0
# Whoever sees containers end says why; only when nobody does is the prediction ended from here.
DEATH_SECONDS = 5.0
CRASHED = "Worker crashed"
_ENDED = ("succeeded", "failed", "canceled")
# What Cog says before an error of the model, one or several of these.
_BEFORE = ("Prediction failed: ", "Training failed: ", "Async prediction failed: ", "Generator iteration error: ")


class Run:
    """Runs `job`. `streams`: the server sends events; `iterates`: its output is sent item by item.

    `on_lost`: called with the reason when the server can run nothing any more. Its yard then hears of the end of the
    instance, and not first that the prediction has ended: the next one would be sent to what is lost.
    """

    def __init__(
        self,
        job: Job,
        link: Link,
        api: Api,
        hook: Hook | None,
        *,
        streams: bool,
        iterates: bool,
        on_lost: Callable[[str], None],
    ) -> None:
        self.job = job
        self._link = link
        self._api = api
        self._hook = hook
        self._streams = streams
        self._iterates = iterates
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._logged = 0
        self._ended = False
        self._heard = threading.Event()
        self._heard_out = threading.Event()

    def run(self) -> None:
        """From the request to its last frame."""
        job = self.job
        address = self._hook.listen(self._told) if self._hook is not None and not self._streams else None
        try:
            body = self._body(address)
            job.started()
            self._end(self._stream(body) if self._streams else self._ask(body))
        except RefusedError as error:
            if error.status == 409 and not job.canceled:
                self._on_lost(f"its server took no prediction for {BUSY_SECONDS:g} s: {error}")
            else:
                self._fail(str(error))
        except ApiError as error:
            time.sleep(DEATH_SECONDS)
            self._on_lost(f"its server does not answer: {error}")
        except (values.TooLargeError, OutputError, OSError, ValueError) as error:
            self._fail(str(error))
        finally:
            if self._hook is not None and address is not None:
                self._hook.forget(address)

    def cancel(self) -> None:
        """Ask the server to stop it, until it knows of it."""
        until = time.monotonic() + BUSY_SECONDS
        self.job.canceled = True
        while not self._ended and time.monotonic() < until:
            try:
                if self._api.cancel(self.job.id):
                    return
            except ApiError:
                return
            time.sleep(BUSY_PAUSE)

    # -- asking

    def _body(self, address: str | None) -> dict[str, Any]:
        job = self.job
        body: dict[str, Any] = {"id": job.id, "input": values.to_cog(job.input(), job.files)}
        if job.context:
            body["context"] = job.context
        if address is not None:
            body |= {"webhook": address, "webhook_events_filter": ["start", "output", "logs", "completed"]}
        return body

    def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        state = self._when_free(lambda: self._api.run(self.job.id, body))
        silent = not state.get("logs") and state.get("status") != "succeeded"
        # Of what failed or was canceled the reply has no logs; the last webhook has, if webhooks get through.
        hook = self._hook if silent else None
        if hook is not None and not hook.deaf and not self._heard_out.wait(LOGS_SECONDS):
            hook.deaf = not self._heard.is_set()
        return state

    def _stream(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._when_free(lambda: self._follow(body))

    def _follow(self, body: dict[str, Any]) -> dict[str, Any]:
        for name, data in self._api.stream(self.job.id, body):
            if name == "log":
                self._log(data.get("data", ""), data.get("source", "stdout"))
            elif name == "output":
                self._items([data.get("chunk")])
            elif name == "metric":
                self._metric(data.get("name", ""), data.get("value"), data.get("mode", "replace"))
            elif name == "completed":
                return {**data, "metrics": {}}
            elif name == "error":
                raise ApiError(str(data.get("error")))
        raise ApiError("the stream of events ended before the prediction did")

    def _when_free(self, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        until = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                return ask()
            except RefusedError as error:
                if error.status != 409 or time.monotonic() > until or self.job.canceled:
                    raise
            time.sleep(BUSY_PAUSE)

    # -- telling

    def _told(self, state: dict[str, Any]) -> None:
        """A webhook came: everything up to now, of which what is new is passed on."""
        with self._lock:
            self._heard.set()
            if self._ended:
                return
            self._catch_up(state)
            if state.get("status") in _ENDED:
                self._heard_out.set()

    def _catch_up(self, state: dict[str, Any]) -> None:
        logs = state.get("logs") or ""
        if len(logs) > self._logged:
            self._log(logs[self._logged :], "stdout")
        if self._iterates and isinstance(output := state.get("output"), list):
            self._items(output[self.job.index :])

    def _log(self, text: str, source: str) -> None:
        self._logged += len(text)
        self._link.post_log(self.job.id, source if source in ("stdout", "stderr") else "stdout", text)
        self._link.flush()

    def _items(self, items: list[Any]) -> None:
        for item in items:
            self.job.item(values.from_cog(item, self.job.folder))
        self._link.flush()

    def _metric(self, name: str, value: Any, mode: str) -> None:
        if name != "predict_time":
            self.job.metric(name, value, {"incr": "increment"}.get(mode, mode))

    def _end(self, state: dict[str, Any]) -> None:
        with self._lock:
            self._catch_up(state)
            for name, value in (state.get("metrics") or {}).items():
                self._metric(name, value, "replace")
            self._ended = True
        status, error = state.get("status"), str(state.get("error") or "")
        if CRASHED in error:
            self._on_lost("the process of the model crashed")
        elif status == "succeeded":
            self._succeed(state.get("output"))
        elif status == "canceled":
            self.job.ended_by_cancel()
        else:
            self.job.failed(_plain(error) or f"The server of the model says {status!r}.")

    def _succeed(self, output: Any) -> None:
        iterated = self.job.index > 0 or (self._iterates and isinstance(output, list))
        text, files = self.job.encode(None if iterated else values.from_cog(output, self.job.folder))
        self.job.done(text, files, iterator=iterated)

    def _fail(self, error: str) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
        if self.job.canceled:
            self.job.ended_by_cancel()
        else:
            self.job.failed(error)


def _plain(error: str) -> str:
    """An error as our own worker words it."""
    while (before := next((each for each in _BEFORE if error.startswith(each)), None)) is not None:
        error = error.removeprefix(before)
    return error
