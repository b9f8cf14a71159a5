"""Every failure that a person or a client may meet, as one tree; doors translate it once, into a problem document.

    ModelyardError 500
    ├── BadRequest 400        ├── TooLarge 413
    ├── Unauthenticated 401   ├── Invalid 422       names the fields that are wrong
    ├── Forbidden 403         ├── TooMany 429       says when to come again
    ├── NotFound 404          ├── Unavailable 503   the same request may succeed later
    ├── Conflict 409          ├── OutOfSpace 507
    ├── Gone 410              └── UsageError        a command was called wrongly: exit status 2

A class carries the HTTP status, a stable code for programs and a title for people. An instance carries the one
sentence that says what was found and what is wanted, and, where there is a next step, a `hint`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

_STOPS = (".", "!", "?", ":", "…")


def sentences(said: str, hint: str | None) -> str:
    """What was said and the next step as one text, for where there is room for one only."""
    return " ".join(f"{part}{'' if part.endswith(_STOPS) else '.'}" for part in (said, hint) if part) if hint else said


class ModelyardError(Exception):
    """Something of ours failed.

    `detail`: one sentence for people. `hint`: the next step. `extra`: further members of the problem document,
    JSON values by name. Without a detail the class's title speaks.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: str = "Internal server error"

    def __init__(self, detail: str = "", *, title: str | None = None, hint: str | None = None, **extra: object) -> None:
        if title is not None:
            self.title = title
        self.detail = detail or self.title
        self.hint = hint
        self.extra: dict[str, object] = extra
        super().__init__(self.detail)


class BadRequest(ModelyardError):
    """The request cannot be understood."""

    status = 400
    code = "bad_request"
    title = "Bad request"


class Unauthenticated(ModelyardError):
    """No token, or one that is not valid."""

    status = 401
    code = "unauthenticated"
    title = "Unauthenticated"


class Forbidden(ModelyardError):
    """Known who asks, and they may not."""

    status = 403
    code = "forbidden"
    title = "Forbidden"


class NotFound(ModelyardError):
    """There is no such thing, or none that the caller may see."""

    status = 404
    code = "not_found"
    title = "Not found"


class Gone(ModelyardError):
    """There was such a thing, and it was removed."""

    status = 410
    code = "gone"
    title = "Gone"


class Conflict(ModelyardError):
    """The state of things forbids it: a name is taken, a version is in use."""

    status = 409
    code = "conflict"
    title = "Conflict"


class TooLarge(ModelyardError):
    """The body is longer than is accepted."""

    status = 413
    code = "too_large"
    title = "Request body too large"


class Invalid(ModelyardError):
    """The request is well formed and its values are wrong.

    `invalid_fields`: `{"type": str, "field": str, "description": str}` each, in the order of the request.
    """

    status = 422
    code = "invalid"
    title = "Input validation failed"

    def __init__(
        self,
        detail: str = "",
        invalid_fields: Sequence[Mapping[str, str]] = (),
        *,
        title: str | None = None,
        hint: str | None = None,
        **extra: object,
    ) -> None:
        self.invalid_fields = [dict(field) for field in invalid_fields]
        if self.invalid_fields:
            extra["invalid_fields"] = self.invalid_fields
        super().__init__(detail, title=title, hint=hint, **extra)


class TooMany(ModelyardError):
    """Too many requests; `retry_after`: seconds until the next one may succeed."""

    status = 429
    code = "too_many_requests"
    title = "Too many requests"

    def __init__(
        self,
        detail: str = "",
        retry_after: int = 1,
        *,
        title: str | None = None,
        hint: str | None = None,
        **extra: object,
    ) -> None:
        self.retry_after = retry_after
        super().__init__(detail, title=title, hint=hint, retry_after=retry_after, **extra)


class Unavailable(ModelyardError):
    """Not now: something that is needed does not answer, is starting or is stopping."""

    status = 503
    code = "unavailable"
    title = "Service unavailable"


class OutOfSpace(ModelyardError):
    """The disk is full, or so nearly that nothing new is accepted."""

    status = 507
    code = "out_of_space"
    title = "Out of disk space"


class UsageError(ModelyardError):
    """A command or a setting was given wrongly; a command ends with `exit_status`."""

    status = 400
    code = "usage"
    title = "Wrong usage"
    exit_status: ClassVar[int] = 2
