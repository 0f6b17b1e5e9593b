"""The metrics against numbers worked out by hand."""

import pytest

from agentflow.bench import metrics
from agentflow.bench.metrics import TaskRecord, bootstrap_interval, percentile, summarize, wilson_interval
from agentflow.types import Usage


def record(**changes) -> TaskRecord:
    """Make a record of one ordinary task; `changes` override its fields."""
    usage = Usage(
        requests=3,
        output_tokens=60,
        num_canvases=3,
        denoising_steps=12,
        num_forwards=12,
        model_time_s=1.5,
        constraint_time_s=0.3,
        log_partition=-24.0,
    )
    base = {"task": "t", "kind": "k", "seed": 0, "is_solved": True, "duration_s": 2.0, "tool_time_s": 0.1}
    counts = {"num_steps": 3, "num_calls": 4, "num_valid_calls": 4, "num_reference_calls": 4, "num_exact_calls": 3}
    return TaskRecord(**{**base, **counts, "usage": usage, **changes})


def test_ratios_are_sums_over_sums():
    """Ratios divide sums over all tasks; they are no mean of per-task ratios."""
    slow = record(duration_s=6.0, usage=Usage(output_tokens=20, num_forwards=20, model_time_s=2.5))
    measures = summarize([record(), slow]).measures
    assert measures["output_tokens_per_second"].value == pytest.approx(80 / 8)
    assert measures["end_to_end_output_tokens_per_second"].value == pytest.approx(80 / 4)
    assert measures["tokens_per_forward"].value == pytest.approx(80 / 32)
    assert measures["denoising_steps_per_canvas"].value == pytest.approx(4.0)
    assert measures["tasks_per_minute"].value == pytest.approx(15.0)


def test_shares_add_up_to_one():
    """Model, tool and framework time share the wall time."""
    measures = summarize([record()]).measures
    shares = [measures[f"{part}_time_share"].value for part in ("model", "tool", "framework")]
    assert shares == pytest.approx([0.75, 0.05, 0.2])
    assert measures["constraint_time_share"].value == pytest.approx(0.2)


def test_unreadable_turns_count_as_invalid_calls():
    """A turn that is no call and no answer lowers valid_call_rate."""
    broken = record(num_calls=1, num_valid_calls=1, num_unreadable_turns=3)
    assert summarize([broken]).measures["valid_call_rate"].value == pytest.approx(0.25)


def test_exact_call_rate_counts_the_reference_calls():
    """A call that was never made counts against exact_call_rate."""
    assert summarize([record()]).measures["exact_call_rate"].value == pytest.approx(0.75)


def test_goodput_counts_solved_tasks_within_the_deadline():
    """Neither a late success nor a quick failure is good."""
    records = [record(), record(duration_s=50.0), record(is_solved=False, duration_s=8.0)]
    assert summarize(records, deadline_s=10.0).measures["goodput"].value == pytest.approx(1.0)


def test_wilson_interval_matches_published_values():
    """8 of 10 gives 0.490 to 0.943; no hit in 20 still leaves room up to 0.161 (score interval)."""
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson_interval(0, 0) is None


def test_bootstrap_interval_covers_the_ratio_and_is_repeatable():
    """The interval holds the ratio of sums, depends on the seed alone, and closes for equal tasks."""
    pairs = [(float(i), 2.0) for i in range(10)]
    low, high = bootstrap_interval(pairs, seed=1)
    assert low < 2.25 < high
    assert bootstrap_interval(pairs, seed=1) == (low, high)
    assert bootstrap_interval([(3.0, 2.0)] * 5, seed=0) == (1.5, 1.5)
    assert bootstrap_interval([(3.0, 2.0)], seed=0) is None


def test_percentile_interpolates():
    """Halfway between two order statistics lies their mean."""
    assert percentile([4.0, 1.0, 3.0, 2.0], 50) == pytest.approx(2.5)
    assert percentile([7.0], 99) == 7.0


def test_every_formula_names_a_measure():
    """A formula without a number, or a renamed number, is noticed."""
    assert set(metrics.FORMULAS) <= set(summarize([record()]).measures)


def test_no_records_is_an_error():
    """A summary of nothing would be a made-up number."""
    with pytest.raises(ValueError, match="at least one record"):
        summarize([])
