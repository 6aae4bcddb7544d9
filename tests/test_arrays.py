from __future__ import annotations

import numpy as np
import pytest

from lissom.arrays import Hasher, as_array, as_inputs, is_whole, whole_rows
from lissom.errors import TaskError


class Tensor:
    """Quacks like a torch tensor that needs a gradient and lives on another device."""

    def __init__(self, values, dtype="float32"):
        self.values, self.dtype = np.asarray(values, dtype=np.float32), dtype
        self.shape = self.values.shape
        self.detached = self.on_cpu = False

    def detach(self):
        self.detached = True
        return self

    def cpu(self):
        self.on_cpu = True
        return self

    def numpy(self):
        if not (self.detached and self.on_cpu):
            raise RuntimeError("still on the device")
        if self.dtype == "bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.values


def test_a_tensor_is_detached_and_brought_to_the_cpu():
    np.testing.assert_array_equal(as_array(Tensor([1, 2]), "here"), [1, 2])


def test_a_tensor_numpy_does_not_know_is_refused_with_the_way_out():
    with pytest.raises(TaskError, match=r"bfloat16") as error:
        as_array(Tensor([1], "bfloat16"), "calibration, batch 0")
    assert ".float()" in str(error.value)
    assert error.value.where == "calibration, batch 0"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("some text", "got text"),
        ([[1, 2], [3]], "different lengths"),
        (None, "Python objects"),
        (np.array([{}]), "Python objects"),
    ],
)
def test_what_is_no_array_is_refused(value, says):
    with pytest.raises(TaskError, match=says):
        as_array(value, "here")


def test_a_list_of_arrays_is_by_position_and_a_list_of_numbers_is_an_array():
    assert len(as_inputs([np.ones(2), np.ones(3)], "here")) == 2
    (only,) = as_inputs([[1, 2], [3, 4]], "here")
    assert only.shape == (2, 2)
    assert list(as_inputs({"x": [1.0]}, "here")) == ["x"]


def test_an_empty_dict_is_no_batch():
    with pytest.raises(TaskError, match="without any array"):
        as_inputs({}, "here")


def test_a_tuple_of_arrays_is_whole_and_a_list_is_batches():
    assert is_whole((np.ones(2), np.ones(2)))
    assert is_whole({"x": [1]})
    assert not is_whole([np.ones(2), np.ones(2)])


def test_rows_must_agree():
    assert whole_rows({"a": np.ones((3, 2)), "b": np.ones(3)}, "data") == 3
    with pytest.raises(TaskError, match=r"'a' has 3, 'b' has 2"):
        whole_rows({"a": np.ones(3), "b": np.ones(2)}, "data")
    with pytest.raises(TaskError, match="no samples"):
        whole_rows((np.ones((0, 4)),), "data")
    with pytest.raises(TaskError, match="single number"):
        whole_rows((np.float32(1.0) * np.ones(()),), "data")


def digest(*batches):
    hasher = Hasher()
    for batch in batches:
        hasher.inputs(batch)
    return hasher.hexdigest()


def test_digest_sees_names_dtypes_shapes_and_bytes_and_not_the_order_of_keys():
    one = {"a": np.zeros((2, 3), np.float32), "b": np.ones(2, np.int64)}
    same = {"b": one["b"].copy(), "a": np.asfortranarray(one["a"])}
    assert digest(one) == digest(same)
    others = [
        digest({"A": one["a"], "b": one["b"]}),
        digest({"a": one["a"].astype(np.int32), "b": one["b"]}),
        digest({"a": one["a"].reshape(3, 2), "b": one["b"]}),
        digest({"a": one["a"] + 1, "b": one["b"]}),
        digest({"a": one["a"]}, {"b": one["b"]}),
        digest(one, one),
    ]
    assert len({digest(one), *others}) == 7


def test_digest_takes_scalars_empty_arrays_and_text():
    odd = ({"s": np.array(3.0), "e": np.zeros((0, 2)), "t": np.array(["ab", "c"])},)
    assert digest(*odd) != digest({**odd[0], "t": np.array(["ab", "d"])})
