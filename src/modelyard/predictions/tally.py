"""How predictions ended since this process started: by model and status, and how long they waited and ran."""

from __future__ import annotations

from collections import Counter

from modelyard import measures
from modelyard.predictions.record import Prediction, Status


class OfModel:
    """One model's. `queued`: seconds from accepted to the model's first line; `ran`: from there to the end."""

    __slots__ = ("ended", "queued", "ran")

    def __init__(self) -> None:
        self.ended: Counter[Status] = Counter()
        self.queued = measures.Histogram(measures.LATENCIES)
        self.ran = measures.Histogram(measures.LATENCIES)


class Tally:
    """All models', by full name; those that come when there are many, together."""

    def __init__(self) -> None:
        self.models: dict[str, OfModel] = {}

    def ended(self, record: Prediction) -> None:
        """An outcome was committed."""
        model = self.models.get(record.model)
        if model is None:
            model = self.models.setdefault(measures.within(self.models, record.model), OfModel())
        model.ended[record.status] += 1
        began, end = record.started_at, record.completed_at
        if began is not None and end is not None:
            # Clocks are set; what comes out of that is no time.
            model.queued.observe(max(0.0, (began - record.created_at) / 1e6))
            model.ran.observe(max(0.0, (end - began) / 1e6))
