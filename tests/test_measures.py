"""Histograms, and how many models there are figures of."""

from __future__ import annotations

from modelyard import measures
from modelyard.predictions.record import Prediction, Status
from modelyard.predictions.tally import Tally


def test_a_value_on_a_bound_counts_as_below_it() -> None:
    found = measures.Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        found.observe(value)
    assert found.cumulative() == [(1.0, 2), (2.0, 3), (float("inf"), 4)]
    assert found.total == 12.0


def test_two_are_put_together_without_a_change_to_either() -> None:
    one, other = measures.Histogram((1.0,)), measures.Histogram((1.0,))
    one.observe(0.5)
    other.observe(3.0)
    both = one.with_those_of(other)
    assert (both.cumulative(), both.total) == ([(1.0, 1), (float("inf"), 2)], 3.5)
    assert (one.cumulative(), other.total) == ([(1.0, 1), (float("inf"), 1)], 3.0)


def ended(model: str) -> Prediction:
    return Prediction(
        id="p",
        account_id="a",
        model_id="m",
        model=model,
        version_id="v",
        status=Status.SUCCEEDED,
        created_at=0,
        started_at=1_000_000,
        completed_at=3_000_000,
    )


def test_very_many_models_have_their_own_figures_up_to_a_number_and_the_others_share() -> None:
    tally = Tally()
    names = [f"yard/model-{number}" for number in range(3 * measures.MODELS)]
    for name in names + names:
        tally.ended(ended(name))
    assert len(tally.models) == measures.MODELS + 1
    assert tally.models[names[0]].ended == {Status.SUCCEEDED: 2}
    others = tally.models[measures.OTHERS]
    assert others.ended == {Status.SUCCEEDED: 2 * 2 * measures.MODELS}
    assert others.ran.total == 2.0 * others.ended[Status.SUCCEEDED]
