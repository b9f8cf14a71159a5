"""An instance as the machine holds it: its state and legal moves, its link, its slots, and which frames are safe."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from modelyard.predictions.masking import Mask, Withholding, mask_of, texts
from modelyard_runner.last_words import LastWords

if TYPE_CHECKING:
    from modelyard.engines.base import Limits
    from modelyard.predictions.live import Live
    from modelyard_runner.channel import Channel

# Which pool: a model's id and a version's.
Key = tuple[str, str]

SETUP_LOG_BYTES: Final = 64 * 1024


class State(StrEnum):
    """The life of an instance."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


GONE: Final = frozenset({State.STOPPED, State.FAILED})
_LEGAL: Final = {
    State.STARTING: frozenset({State.IDLE, State.DRAINING, State.STOPPED, State.FAILED}),
    State.IDLE: frozenset({State.BUSY, State.DRAINING, State.STOPPED, State.FAILED}),
    State.BUSY: frozenset({State.IDLE, State.DRAINING, State.STOPPED, State.FAILED}),
    State.DRAINING: frozenset({State.STOPPED, State.FAILED}),
    State.STOPPED: frozenset[State](),
    State.FAILED: frozenset[State](),
}


class IllegalMove(Exception):
    """An instance cannot go from its state to that one."""


class Instance:
    """One instance of the pool with this key. `now` arguments are seconds of a monotonic clock."""

    def __init__(self, *, id: str, key: Key, limits: Limits, token_hash: str, now: float) -> None:
        self.id = id
        self.key = key
        self.limits = limits
        self.token_hash = token_hash
        self.state = State.STARTING
        self.channel: Channel | None = None
        self.concurrency = 1
        self.waits = 0.0  # seconds that a prediction may wait in the worker for a batch to fill
        self.running: dict[str, Live] = {}
        self.reserved = 0  # slots kept for predictions that are being fetched from the database
        self.since = now  # of its state; for STARTING: when its process was started
        self.process_started = False
        self.pid = 0  # of its worker, where that is a process of this host
        self.unread = LastWords()  # what its native code wrote and the worker could not read
        self.adopted = False  # of an earlier life of this yard; waits for its worker to dial
        self.setup_log: deque[str] = deque()
        self._setup_log_size = 0
        self.last_seq = 0
        self.acked = 0
        self.unsafe: dict[str, int] = {}  # prediction id → its first frame that is not committed
        # What its environment holds that nobody else may see, and what hides it in what the instance says.
        self.secrets: Mapping[str, str] = {}
        self.sealed: str | None = None  # of one of an earlier life: the same as it was kept, until it is opened
        self.mask: Mask | None = None
        self.end_reason: str | None = None
        self.setup_failed = False

    def become(self, state: State, now: float) -> None:
        """Change the state. Raises IllegalMove."""
        if state is self.state:
            return
        if state not in _LEGAL[self.state]:
            raise IllegalMove(f"instance {self.id} is {self.state.value}, it cannot become {state.value}")
        self.state = state
        self.since = now

    @property
    def free(self) -> int:
        """Slots that a prediction may take now."""
        ready = self.channel is not None and (self.state is State.IDLE or self.state is State.BUSY)
        return self.concurrency - len(self.running) - self.reserved if ready else 0

    def take(self, live: Live, now: float) -> None:
        """A prediction takes a slot."""
        self.running[live.id] = live
        live.handed_at = now
        if live.mask is None and (self.mask is not None or live.record.secrets is not None):
            live.mask = self._mask_for(live)
        if self.state is State.IDLE:
            self.state, self.since = State.BUSY, now

    def give(self, secrets: Mapping[str, str]) -> None:
        """Its environment has these."""
        self.secrets = secrets
        self.mask = mask_of(secrets.values())

    def withhold(self) -> None:
        """What its environment has cannot be found out: nothing that it says is shown."""
        self.mask = Withholding()

    def _mask_for(self, live: Live) -> Mask | None:
        unknown = live.record.secrets is not None and not live.secrets
        if unknown or isinstance(self.mask, Withholding):
            return Withholding()
        return mask_of([*self.secrets.values(), *texts(live.secrets)])

    def masked(self, text: str) -> str:
        """What it said outside of predictions, as it may be kept."""
        return text if self.mask is None else self.mask.feed(text)

    def held_up(self, now: float, patience: float) -> Sequence[Live]:
        """Those that should have begun `patience` seconds ago, without a sign of it, while nothing else runs here.

        Their code holds the interpreter, so that the worker cannot say it.
        """
        running = list(self.running.values())
        if any(live.record.started_at is not None for live in running):
            return ()
        return [live for live in running if now - live.handed_at > self.waits + patience]

    def give_back(self, prediction_id: str, now: float) -> None:
        """Its slot is free again."""
        if self.running.pop(prediction_id, None) is not None and not self.running and self.state is State.BUSY:
            self.state, self.since = State.IDLE, now

    def add_setup_log(self, text: str) -> None:
        """Keep the end of what setup printed."""
        self.setup_log.append(text)
        self._setup_log_size += len(text)
        while self._setup_log_size > SETUP_LOG_BYTES and len(self.setup_log) > 1:
            self._setup_log_size -= len(self.setup_log.popleft())

    def safe_seq(self) -> int:
        """Every frame up to this one is committed or of no more use."""
        return min(self.unsafe.values()) - 1 if self.unsafe else self.last_seq
