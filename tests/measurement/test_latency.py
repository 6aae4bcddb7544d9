"""Timing tells a slower file from the same file, and says so when it cannot."""

import numpy as np
import pytest

from lissom.errors import RequestError, RunError
from lissom.measurement.latency import compare_speed, summary, time_alone
from lissom.measurement.records import Settings
from tests.measurement.stacks import stack

SETTINGS = Settings(seconds=0.6, processes=2)


@pytest.fixture(scope="module")
def feeds():
    return {"x": np.random.default_rng(0).normal(size=(8, 128)).astype(np.float32)}


def test_a_file_against_itself_is_neither_faster_nor_slower(tmp_path, feeds):
    path = stack(tmp_path / "a.onnx", 8)
    speed = compare_speed(path, path, feeds, Settings(seconds=0.6, processes=3))
    # In one run of twenty the interval leaves 1 out, by less than anybody notices.
    assert speed.verdict in ("too noisy to tell", "the same speed")
    assert speed.ratio.value == pytest.approx(1, abs=0.02)


def test_twice_the_layers_is_slower_and_half_of_them_faster(tmp_path, feeds):
    short, long = stack(tmp_path / "short.onnx", 8), stack(tmp_path / "long.onnx", 16)
    slower = compare_speed(short, long, feeds, SETTINGS)
    assert slower.verdict == "slower"
    assert slower.ratio.value == pytest.approx(0.5, abs=0.1)
    assert slower.candidate.p50 > 1.5 * slower.original.p50
    faster = compare_speed(long, short, feeds, SETTINGS)
    assert faster.verdict == "faster"
    assert faster.ratio.value == pytest.approx(1 / slower.ratio.value, rel=0.05)


def test_one_process_gives_an_interval_too(tmp_path, feeds):
    path = stack(tmp_path / "a.onnx", 4)
    speed = compare_speed(path, path, feeds, Settings(seconds=0.05, processes=1))
    assert speed.ratio.low < speed.ratio.value < speed.ratio.high


def test_progress_is_shown_once_for_each_process(tmp_path, feeds):
    seen = []

    def track(items, label, total=None):
        for item in items:
            yield item
            seen.append((label, total))

    path = stack(tmp_path / "a.onnx", 2)
    time_alone(path, feeds, Settings(seconds=0.05, processes=2), track)
    assert seen == [("time a.onnx", 2)] * 2


def test_time_alone_counts_every_run(tmp_path, feeds):
    path = stack(tmp_path / "a.onnx", 4)
    found = time_alone(path, feeds, Settings(seconds=0.2, processes=1, batch=8))
    assert found.runs > 20
    assert 0.7 * found.runs <= sum(found.histogram) <= found.runs
    assert 0 < found.edges[0] <= found.p50 <= found.p95 <= found.p99
    assert found.p50 <= found.edges[1] <= found.p99
    # All runs together took no longer than they were given, and a little for the last of them.
    assert 0 < 8 * found.runs / found.throughput < 0.3


def test_summary_of_known_times():
    found = summary(np.arange(1, 101) * 1_000_000, samples=4)
    assert found.p50 == pytest.approx(50.5)
    assert found.p95 == pytest.approx(95.05)
    assert found.p99 == pytest.approx(99.01)
    assert found.throughput == pytest.approx(4 * 100 / 5.05)
    assert found.edges == (1.0, pytest.approx(99.01))
    assert (sum(found.histogram), found.runs) == (99, 100)
    assert sum(summary(np.full(5, 2_000_000), samples=1).histogram) == 5


def test_a_slow_tail_counts_in_the_throughput_and_leaves_the_histogram_its_shape():
    """Nine runs in ten take 0.20 to 0.23 ms, one 6 ms: a mean of 0.8 ms, not the median's 0.2."""
    times = np.tile([200, 205, 210, 212, 215, 218, 220, 225, 230, 6000], 40) * 1_000
    found = summary(times, samples=2)
    assert found.throughput == pytest.approx(2 / 793.5e-6)
    assert found.p50 == pytest.approx(0.2165)
    assert found.edges[0] == 0.2 and 0.23 < found.edges[1] < 0.3
    assert sum(found.histogram) == 360
    assert sum(count > 0 for count in found.histogram) == 9


def test_a_file_that_cannot_be_run_is_named(tmp_path, feeds):
    path = stack(tmp_path / "a.onnx", 2)
    wrong = {"x": feeds["x"][:, :5]}
    with pytest.raises(RunError, match="cannot run the model") as error:
        time_alone(path, wrong, Settings(seconds=0.05, processes=1))
    assert "a.onnx" in str(error.value)
    assert "x [8, 5]" in str(error.value)
    with pytest.raises(RunError, match="does not have: x"):
        time_alone(path, {"z": feeds["x"]}, Settings(seconds=0.05, processes=1))


def test_more_threads_than_cores_are_refused(tmp_path, feeds):
    with pytest.raises(RequestError, match="1000 threads"):
        time_alone(stack(tmp_path / "a.onnx", 2), feeds, Settings(threads=1000))
