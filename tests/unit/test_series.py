"""Requests put into buckets: every one is kept in the sums, however many buckets become one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from cpkit.series import Recorder

Requests = st.lists(
    st.tuples(
        st.floats(0, 5, allow_nan=False),  # seconds since the one before
        st.sampled_from(["answered", "failed", "away"]),
        st.floats(0.001, 5, allow_nan=False),
    ),
    max_size=60,
)


@settings(deadline=None)  # a machine with other work is slow now and then
@given(Requests, st.integers(2, 9))
def test_nothing_is_lost_and_memory_is_bounded(requests: list[tuple[float, str, float]], most: int) -> None:
    recorder, at = Recorder(1000.0, most=most), 0.0
    for pause, what, latency in requests:
        at += pause
        answered = latency if what == "answered" else None
        recorder.add(at, answered, failed=what == "failed", away=what == "away")
    series = recorder.series()
    assert len(series.requests) <= most
    assert {len(column) for column in (series.failed, series.away, series.median, series.slowest)} <= {
        len(series.requests)
    }
    kinds = [what for _, what, _ in requests]
    assert sum(series.requests) == len(kinds)
    assert (sum(series.failed), sum(series.away)) == (kinds.count("failed"), kinds.count("away"))
    slowest = max((latency for _, what, latency in requests if what == "answered"), default=None)
    seen = max((each for each in series.slowest if each is not None), default=None)
    assert seen == (None if slowest is None else round(slowest * 1000, 1))
    assert len(series.requests) * series.width > at or not requests


def test_a_bucket_tells_the_median_and_the_slowest_answer_and_an_empty_one_neither() -> None:
    recorder = Recorder(1000.0)
    for at, latency in ((0.1, 0.010), (0.2, 0.030), (0.3, 0.020), (2.5, 0.001)):
        recorder.add(at, latency)
    recorder.add(2.6, None, failed=True)
    series = recorder.series()
    assert (series.began, series.width) == (1000.0, 1.0)
    assert series.requests == (3, 0, 2)
    assert series.failed == (0, 0, 1)
    assert series.median == (20.0, None, 1.0)
    assert series.slowest == (30.0, None, 1.0)


def test_two_buckets_that_become_one_keep_the_slower_median() -> None:
    recorder = Recorder(0.0, most=2)
    for at, latency in ((0.5, 0.010), (1.5, 0.030), (2.5, 0.001)):
        recorder.add(at, latency)
    series = recorder.series()
    assert (series.width, series.requests, series.median) == (2.0, (2, 1), (30.0, 1.0))
