"""What the sink of a scenario answers: 200, unless it was told otherwise for a path."""

from __future__ import annotations

from dataclasses import dataclass, field

from receiver import Answer, Received


@dataclass(slots=True, kw_only=True)
class _Place:
    statuses: list[int] = field(default_factory=lambda: [200])
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Answers:
    """Statuses in their order, the last one for ever; headers and a body."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}

    def set(self, path: str, lines: list[tuple[str, str]]) -> None:
        """What a path answers from now on."""
        place = self._places[path] = _Place()
        for word, rest in lines:
            if word == "answers":
                place.statuses = [int(status) for status in rest.split()]
            elif word == "header":
                name, _, value = rest.partition(": ")
                place.headers[name] = value
            elif word == "content":
                place.body = rest.encode()
            else:
                raise AssertionError(f"{word!r} is nothing that a sink can be told")

    def __call__(self, received: Received) -> Answer:
        place = self._places.get(received.path.partition("?")[0]) or _Place()
        status = place.statuses.pop(0) if len(place.statuses) > 1 else place.statuses[0]
        return status, place.headers, place.body
