"""What workers and engines report, turned into moves: of predictions, of instances, of the pools that they are in."""

from __future__ import annotations

import logging
from collections.abc import Callable

from modelyard.predictions.progress import OF_PREDICTIONS, PredictionFrame, Progress
from modelyard.predictions.record import Status
from modelyard.predictions.service import Predictions
from modelyard.scheduler.dispatch import Dispatcher
from modelyard.scheduler.fleet import Fleet
from modelyard.scheduler.instance import GONE, Instance, State
from modelyard.scheduler.logbook import Logbook
from modelyard_runner import frames

log = logging.getLogger(__name__)

# After a failed setup the next try waits: 1 s, 2 s, 4 s … up to a minute.
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 1.0, 60.0
# A worker that has sent this many frames since the last acknowledgement gets one at once.
ACK_EVERY = 2000
_READY = "!ready"


class Reports:
    """Frames and deaths of instances."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        predictions: Predictions,
        progress: Progress,
        dispatcher: Dispatcher,
        logbook: Logbook,
        release: Callable[[Instance], None],
        wake: Callable[[], None],
    ) -> None:
        self._fleet = fleet
        self._predictions = predictions
        self._progress = progress
        self._dispatcher = dispatcher
        self._logbook = logbook
        self._release = release
        self._wake = wake

    # -- frames

    def hello(self, instance: Instance, hello: frames.Hello) -> None:
        """A worker dialled, for the first time or again: settle who runs what."""
        instance.adopted = False
        instance.waits = hello.waits
        if instance.pid and hello.pid == instance.pid:
            instance.unread.hold(hello.pid, hello.pipes)
        held = set(hello.running)
        for prediction_id in hello.running:
            live = self._predictions.lives.get(prediction_id)
            if live is None or (live.record.instance_id is not None and live.record.instance_id != instance.id):
                # It has ended, never was promised, or somebody else's: the worker may drop it.
                if instance.channel is not None:
                    instance.channel.send({"kind": "cancel", "id": prediction_id})
                continue
            if live.record.instance_id is None:
                self._fleet.pool(instance.key).queue.remove(prediction_id)
                self._predictions.claim(live, instance.id)
            if (problem := self._predictions.hidden.reveal(live)) is not None:
                log.error("what it prints is withheld: %s", problem, extra={"prediction_id": live.id})
            instance.take(live, self._fleet.monotonic())
        for prediction_id, live in list(instance.running.items()):
            if prediction_id not in held:
                # It was on its way when the link broke and never arrived.
                instance.give_back(prediction_id, self._fleet.monotonic())
                self._predictions.requeue(live, count=False)
            elif live.cancel_sent or live.record.cancel_requested_at is not None:
                live.cancel_sent = False
                self._dispatcher.stop(live)
        self._dispatcher.dispatch(self._fleet.pool(instance.key))
        self._wake()

    def lost(self, instance: Instance) -> None:
        """The link ended. The worker may still run and dial again; its death is the engine's to tell."""

    def received(self, instance: Instance, news: list[frames.Frame]) -> None:
        """Everything that came in one piece."""
        freed = False
        for frame in news:
            seq = frame.seq
            if seq:
                instance.last_seq = max(instance.last_seq, seq)
            if isinstance(frame, OF_PREDICTIONS):
                freed |= self._of_prediction(instance, frame)
            else:
                self._of_instance(instance, frame)
        if freed:
            self._dispatcher.dispatch(self._fleet.pool(instance.key))
        if instance.last_seq - instance.acked > ACK_EVERY:
            self.acknowledge(instance)

    def _of_prediction(self, instance: Instance, frame: PredictionFrame) -> bool:
        prediction_id = frame.id
        if prediction_id is None:
            if isinstance(frame, frames.Log):
                self._logbook.add(instance.id, instance.masked(frame.text))
            return False
        live = instance.running.get(prediction_id)
        if live is None:
            return False
        instance.unsafe.setdefault(prediction_id, frame.seq)
        self._progress.apply(live, frame)
        if isinstance(frame, frames.ENDS):
            instance.give_back(prediction_id, self._fleet.monotonic())
            return True
        return False

    def _of_instance(self, instance: Instance, frame: frames.Frame) -> None:
        match frame:
            case frames.Setup():
                self.said(instance, frame.text)
            case frames.Ready():
                self._ready(instance, frame)
            case frames.SetupFailed():
                if frame.traceback:
                    self.said(instance, frame.traceback)
                self.setup_failed(instance, f"Setup failed: {frame.error}")
            case frames.Hello() | frames.Health():
                return

    def said(self, instance: Instance, text: str) -> None:
        """What is said while it is set up: for those who wait for it, and for its log."""
        text = instance.masked(text)
        instance.add_setup_log(text)
        self._logbook.add(instance.id, text)

    def _ready(self, instance: Instance, frame: frames.Ready) -> None:
        if instance.state is not State.STARTING:
            return
        self._fleet.setups_of(instance).ready.observe(max(0.0, self._fleet.monotonic() - instance.since))
        instance.concurrency = max(1, frame.concurrency)
        instance.waits = frame.waits
        instance.become(State.IDLE, self._fleet.monotonic())
        self._fleet.pool(instance.key).failures = 0
        self._fleet.pool(instance.key).problem = None
        self._logbook.note(instance.id, "ready")
        log.info("an instance is ready", extra=_about(instance))
        instance.unsafe[_READY] = frame.seq
        self._fleet.ready(instance).add_done_callback(lambda _: instance.unsafe.pop(_READY, None))
        self._dispatcher.dispatch(self._fleet.pool(instance.key))
        self._wake()

    def acknowledge(self, instance: Instance) -> None:
        """Tell the worker what it may forget."""
        for prediction_id in [i for i in instance.unsafe if i != _READY and i not in self._predictions.lives]:
            del instance.unsafe[prediction_id]
        safe = instance.safe_seq()
        if safe > instance.acked and instance.channel is not None:
            instance.acked = safe
            instance.channel.send({"kind": "ack", "seq": safe})

    def hear_out(self, instance: Instance) -> None:
        """Take what native code wrote and the worker cannot read: it died, or that code holds the interpreter."""
        running = list(instance.running.values())
        for stream, text in instance.unread.read():
            if instance.state is State.STARTING:
                self.said(instance, text)
            elif len(running) == 1:
                self._progress.apply(running[0], frames.Log(id=running[0].id, stream=stream, text=text))
            else:
                self._logbook.add(instance.id, instance.masked(text))

    # -- failures

    def setup_failed(self, instance: Instance, error: str) -> None:
        """An instance never became ready: those that wait for it fail with what setup said; the next try waits."""
        self.hear_out(instance)
        instance.setup_failed = True
        self._fleet.setups_of(instance).failed += 1
        if instance.mask is not None:
            error = instance.mask.whole(error)
            instance.add_setup_log(instance.mask.rest())
        pool = self._fleet.pool(instance.key)
        pool.failures += 1
        backoff = min(LAST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (pool.failures - 1))
        pool.retry_at = self._fleet.monotonic() + backoff
        pool.problem = error
        self._logbook.note(instance.id, error)
        setup_log = "".join(instance.setup_log)
        if not any(other.state in (State.IDLE, State.BUSY) for other in pool.instances.values()):
            self._dispatcher.fail_waiting(pool, error, setup_log)
        self._dispatcher.kill(instance, error)

    def ended(self, instance: Instance, reason: str) -> None:
        """Its process is gone. What it ran fails with the reason; what somebody canceled is canceled."""
        if instance.state in GONE:
            return
        now = self._fleet.monotonic()
        self.hear_out(instance)
        instance.unread.close()
        reason = instance.end_reason or reason
        wanted = instance.end_reason is not None or instance.state is State.DRAINING
        if instance.state is State.STARTING and not wanted:
            instance.end_reason = reason
            self.setup_failed(instance, f"Setup failed: the worker {reason}")
        for live in list(instance.running.values()):
            instance.give_back(live.id, now)
            if instance.adopted:
                self._predictions.requeue(live, count=True)
            elif live.record.cancel_requested_at is not None:
                self._predictions.end(live, Status.CANCELED)
            elif wanted:
                self._predictions.requeue(live, count=True)
            else:
                self._predictions.end(live, Status.FAILED, error=f"The worker that ran it was lost: {reason}.")
        state = State.STOPPED if wanted and not instance.setup_failed else State.FAILED
        self._fleet.remove(instance, state, reason)
        self._logbook.note(instance.id, f"{state.value}: {reason}")
        level = logging.WARNING if state is State.FAILED else logging.INFO
        log.log(level, "an instance has ended: %s: %s", state.value, reason, extra=_about(instance))
        self._logbook.close(instance.id)
        self._release(instance)
        self._dispatcher.dispatch(self._fleet.pool(instance.key))
        self._wake()


def _about(instance: Instance) -> dict[str, str]:
    return {"instance_id": instance.id, "version_id": instance.key[1]}
