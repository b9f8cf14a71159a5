"""One request of the hot paths: its headers, read in one pass, and what they mean."""

from __future__ import annotations

from modelyard import rest
from modelyard.accounts import Actor
from modelyard.api.preferences import Wait, parse_prefer
from modelyard.predictions.record import Prediction, Status

# Clients that know no status `aborted` wait for ever or fail; the same end under the name that they know.
_KNOW_NO_ABORTED = (b"replicate-python/", b"replicate-javascript/", b"replicate/python 2.0.0")


class Call:
    """What is known of a request; `actor`, `body` and `origin` are filled in as it is served."""

    __slots__ = (
        "accept",
        "actor",
        "agent",
        "attempt",
        "authorization",
        "body",
        "cancel_after",
        "host",
        "length",
        "name",
        "origin",
        "prefer",
        "scope",
    )

    actor: Actor

    def __init__(self, scope: rest.Scope) -> None:
        self.scope = scope
        self.origin = ""
        self.body = self.authorization = self.host = self.prefer = self.agent = b""
        self.cancel_after = self.accept = self.attempt = self.name = self.length = b""
        for key, value in scope["headers"]:
            if key == b"authorization":
                self.authorization = value
            elif key == b"host":
                self.host = value
            elif key == b"prefer":
                self.prefer = self.prefer + b"," + value if self.prefer else value
            elif key == b"user-agent":
                self.agent = value
            elif key == b"accept":
                self.accept = value
            elif key == b"content-length":
                self.length = value
            elif key == b"cancel-after":
                self.cancel_after = value
            elif key == b"x-stainless-retry-count":
                self.attempt = value
            elif key == b"idempotency-key":
                self.name = value

    @property
    def wait(self) -> Wait | None:
        """How long the caller waits, if it does."""
        return parse_prefer(self.prefer) if self.prefer else None

    @property
    def streams(self) -> bool:
        """Does the caller want events for an answer?"""
        return self.accept.startswith(b"text/event-stream")

    @property
    def may_repeat(self) -> bool:
        """May this request have been sent before, or be sent again, as the same one?"""
        return bool(self.attempt or self.name)

    def too_long(self) -> bool:
        """Does the body announce itself as too long?"""
        return self.length.isdigit() and int(self.length[:20]) > rest.MAX_BODY_BYTES

    def answer_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of an answer that holds a prediction."""
        headers = [(b"content-type", rest.JSON_TYPE), rest.NO_STORE]
        wait = self.wait
        if wait is not None:
            headers.append((b"preference-applied", wait.applied))
        return headers


def status_for(record: Prediction, agent: bytes) -> str | None:
    """Another word than the record's, where this client does not know that one."""
    if record.status is Status.ABORTED and agent.lower().startswith(_KNOW_NO_ABORTED):
        return Status.CANCELED.value
    return None
