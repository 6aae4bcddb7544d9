from __future__ import annotations

import resource

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lissom.distill.cache import ROWS, cached_answers  # noqa: E402
from lissom.distill.logits import Logits, distil  # noqa: E402
from lissom.errors import FolderError  # noqa: E402
from lissom.nn.training import Training  # noqa: E402
from lissom.task import Task  # noqa: E402
from lissom.training_data import TrainingData  # noqa: E402
from tests.distill.test_logits import teacher  # noqa: E402
from tests.nn.trainable import CALL, bits, network, points  # noqa: E402

X, Y = points(600)
CPU = torch.device("cpu")
DATA = TrainingData.of((X, Y)).bind(["x"])


def answers(folder, one=None, data=DATA, limit=2**20, **more):
    return cached_answers(one or teacher(), data, folder, limit=limit, device=CPU, **more)


def test_answers_are_the_teachers_and_kept_in_one_file(tmp_path):
    one = teacher()
    found = answers(tmp_path, one)
    with torch.no_grad():
        expected = one.module.eval()(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    asked = one.module.asked
    again = answers(tmp_path, one)
    # Once more for the shape, and no more.
    assert one.module.asked == asked + 1
    assert np.array_equal(found, again)
    assert len(list(tmp_path.iterdir())) == 1


def test_another_teacher_or_other_data_have_another_file(tmp_path):
    answers(tmp_path)
    answers(tmp_path, teacher(2))
    answers(tmp_path, data=TrainingData.of((X + 1, Y)).bind(["x"]))
    assert len(list(tmp_path.iterdir())) == 3


def test_what_is_too_large_or_not_fixed_is_not_kept(tmp_path):
    assert answers(tmp_path, limit=600 * 3 * 4 - 1) is None
    assert answers(tmp_path, limit=600 * 3 * 4) is not None
    assert answers(tmp_path, data=TrainingData.of([(X, Y)]).bind(["x"])) is None


def test_a_kill_leaves_nothing_that_is_taken_for_whole(tmp_path):
    def track(items, label, total=None):
        assert total == -(-600 // ROWS)
        for number, item in enumerate(items):
            if number == 2:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        answers(tmp_path, track=track)
    assert list(tmp_path.iterdir()) == []
    whole = np.array(answers(tmp_path))
    path = next(tmp_path.iterdir())
    beside = path.with_name(f".{path.name}.123")
    path.rename(beside)
    beside.write_bytes(beside.read_bytes()[:-50])
    assert np.array_equal(answers(tmp_path), whole)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_damaged_file_is_made_anew(tmp_path):
    whole = np.array(answers(tmp_path))
    path = next(tmp_path.iterdir())
    for damage in (b"", path.read_bytes()[:-8], b"\x93NUMPY\x01\x00"):
        path.write_bytes(damage)
        assert np.array_equal(answers(tmp_path), whole)


def test_a_full_disk_is_said(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(FolderError, match="cannot be written"):
            answers(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cache_bytes", [0, 2**20])
def test_training_learns_the_same_from_kept_answers(tmp_path, cache_bytes):
    one, student = teacher(), network()
    config = Logits(cache_bytes=cache_bytes, training=Training(epochs=3, batch_size=100))
    distil(student, [one], Task(train=(X, Y)), config, CALL, folder=tmp_path)
    live = network()
    distil(live, [teacher()], Task(train=(X, Y)), config, CALL)
    assert len(bits(student)) == len(bits(live))
    torch.testing.assert_close(student[0].weight, live[0].weight, atol=1e-5, rtol=1e-4)
    assert (one.module.asked < 3 * 6) == (cache_bytes > 0)
