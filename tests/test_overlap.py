from __future__ import annotations

import numpy as np

from lissom.model import TensorSpec
from lissom.overlap import Shared
from lissom.task import Task

SPEC = TensorSpec("x", "float32", ("batch", 3))
X = np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32)
Y = np.arange(80) % 5


def warnings(calibration, validation) -> str:
    return "\n".join(Task(calibration=calibration, validation=validation).check([SPEC]))


def test_samples_apart_are_nothing_to_warn_of():
    assert warnings({"x": X[:40]}, ({"x": X[40:]}, Y[40:])) == ""


def test_the_same_samples_for_both_are_told_whatever_their_batches():
    told = warnings([{"x": X[:48]}, {"x": X[48:]}], ({"x": X}, Y))
    assert told.startswith("All 80 validation samples are calibration samples too: ")
    assert told.endswith("Give validation samples of their own.")


def test_some_are_counted():
    told = warnings({"x": X[:40]}, ({"x": X[37:]}, Y[37:]))
    assert told.startswith("3 of the 43 validation samples are calibration samples too")
    assert warnings({"x": X[:40]}, {"x": X[39:]}).startswith("1 of the 41 validation samples is a")


def batch(ids: list[list[int]], padded: int, pad: int) -> dict[str, np.ndarray]:
    length = [len(one) for one in ids]
    return {
        "input_ids": np.array([one + [pad] * (padded - len(one)) for one in ids]),
        "attention_mask": np.array([[1] * n + [0] * (padded - n) for n in length]),
    }


def test_padding_does_not_hide_a_text():
    shared = Shared()
    shared.calibration(batch([[5, 6, 7], [8, 9]], padded=3, pad=1))
    shared.validation(batch([[8, 9], [5, 6]], padded=6, pad=1))
    assert shared.words()[0].startswith("1 of the 2")


def test_a_pair_counts_when_both_its_members_calibrated():
    shared = Shared()
    shared.calibration({"x": X[:4]})
    # Pairs (0, 1), (2, 30), (40, 3): only the first is known whole.
    shared.validation({"x": X[[0, 2, 40, 1, 30, 3]]}, rows=2)
    assert shared.words()[0].startswith("1 of the 3")
