"""The life of one prediction, move by move."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from modelyard.predictions import record as records
from modelyard.predictions import statements
from modelyard.predictions.record import IllegalMove, Prediction, Status


def make_prediction(**values: object) -> Prediction:
    defaults = {"id": "p", "account_id": "a", "model_id": "m", "model": "o/n", "version_id": "v", "created_at": 1}
    return Prediction(**{**defaults, **values})


def test_a_claim_counts_an_attempt_and_names_its_holder() -> None:
    claimed = records.claim(make_prediction(), node="n", epoch=3, instance="i")
    assert (claimed.attempts, claimed.lease_node, claimed.lease_epoch, claimed.instance_id) == (1, "n", 3, "i")


def test_what_an_instance_has_cannot_be_claimed_again() -> None:
    claimed = records.claim(make_prediction(), node="n", epoch=1, instance="i")
    with pytest.raises(IllegalMove, match="is not waiting"):
        records.claim(claimed, node="n", epoch=1, instance="j")


@pytest.mark.parametrize("outcome", sorted(records.TERMINAL))
def test_the_first_outcome_stands(outcome: Status) -> None:
    ended = records.finish(make_prediction(), outcome, 5)
    for other in records.TERMINAL:
        with pytest.raises(IllegalMove):
            records.finish(ended, other, 6)
    with pytest.raises(IllegalMove):
        records.requeue(ended, count=True)
    with pytest.raises(IllegalMove):
        records.ask_cancel(ended, 6)


def test_what_has_started_cannot_be_aborted() -> None:
    with pytest.raises(IllegalMove):
        records.finish(records.start(make_prediction(), 2), Status.ABORTED, 3)


def test_a_requeue_that_does_not_count_gives_the_attempt_back() -> None:
    claimed = records.claim(make_prediction(), node="n", epoch=1, instance="i")
    assert records.requeue(claimed, count=False).attempts == 0
    assert records.requeue(claimed, count=True).attempts == 1
    assert records.requeue(claimed, count=True).instance_id is None


class Life(RuleBasedStateMachine):
    """Any order of facts: at most one outcome, and never a step back from it."""

    def __init__(self) -> None:
        super().__init__()
        self.record = make_prediction()
        self.now = 1
        self.outcome: Status | None = None

    @rule(move=st.sampled_from(["claim", "start", "requeue", "cancel"]))
    def a_fact(self, move: str) -> None:
        self.now += 1
        try:
            if move == "claim":
                self.record = records.claim(self.record, node="n", epoch=1, instance="i")
            elif move == "start":
                self.record = records.start(self.record, self.now)
            elif move == "requeue":
                self.record = records.requeue(self.record, count=True)
            else:
                self.record = records.ask_cancel(self.record, self.now)
        except IllegalMove:
            return
        assert self.outcome is None

    @rule(outcome=st.sampled_from(sorted(records.TERMINAL)))
    def an_outcome(self, outcome: Status) -> None:
        self.now += 1
        try:
            self.record = records.finish(self.record, outcome, self.now)
        except IllegalMove:
            return
        assert self.outcome is None
        self.outcome = outcome

    @invariant()
    def the_outcome_is_the_first(self) -> None:
        assert self.record.terminal == (self.outcome is not None)
        if self.outcome is not None:
            assert self.record.status is self.outcome


TestLife = Life.TestCase


def test_metrics_nest_by_dots_and_follow_their_modes() -> None:
    metrics: dict[str, object] = {}
    for name, value, mode in [
        ("a.b", 1, "replace"),
        ("a.b", 2, "increment"),
        ("tags", "x", "append"),
        ("tags", "y", "append"),
        ("gone", 1, "replace"),
        ("gone", None, "replace"),
    ]:
        records.record_metric(metrics, name, value, mode)
    assert metrics == {"a": {"b": 3}, "tags": ["x", "y"]}


def test_a_record_and_its_row_are_the_same_thing() -> None:
    filled = records.Prediction(
        id="i",
        kind="training",
        account_id="a",
        model_id="m",
        model="o/n",
        version_id="v",
        deployment="d",
        status=Status.FAILED,
        source="web",
        input=b'{"x":1}',
        output=b"[1]",
        logs="l",
        error="e",
        metrics=b"{}",
        webhook="https://example.com",
        webhook_events=("start", "completed"),
        context={"k": "v"},
        created_at=1,
        started_at=2,
        completed_at=3,
        deadline_at=4,
        cancel_requested_at=5,
        run_timeout_seconds=6.5,
        attempts=7,
        lease_node="n",
        lease_epoch=8,
        instance_id="j",
        journal=True,
        data_removed=True,
    )
    row = dict(zip(records.Prediction.__struct_fields__, statements.values(filled), strict=True))

    assert statements.from_row(row) == filled
