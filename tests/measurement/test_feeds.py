"""Inputs for timing have the sizes asked for and values that the model can take."""

import numpy as np
import pytest

from lissom.axes import Axis
from lissom.errors import ModelError, RequestError
from lissom.measurement.feeds import example_feeds
from lissom.measurement.records import Settings
from lissom.model import TensorSpec

IDS = TensorSpec("input_ids", "int64", ("batch", "sequence"))
MASK = TensorSpec("attention_mask", "int64", ("batch", "sequence"))
IMAGE = TensorSpec("pixels", "float32", (None, 3, "height", "width"))


def shapes(feeds):
    return {name: array.shape for name, array in feeds.items()}


def test_made_up_inputs_are_valid():
    feeds = example_feeds([IDS, MASK, IMAGE], Settings(batch=2))
    assert shapes(feeds) == {
        "input_ids": (2, 128),
        "attention_mask": (2, 128),
        "pixels": (2, 3, 224, 224),
    }
    assert (feeds["input_ids"] == 0).all()
    assert feeds["input_ids"].dtype == np.int64
    assert (feeds["attention_mask"] == 1).all()
    assert feeds["pixels"].dtype == np.float32
    assert feeds["pixels"].std() == pytest.approx(1, abs=0.01)
    again = example_feeds([IDS, MASK, IMAGE], Settings(batch=2))
    np.testing.assert_array_equal(feeds["pixels"], again["pixels"])


def test_an_axis_stays_in_its_range_unless_asked_out_of_it():
    spec = TensorSpec("x", "float32", ("batch", Axis("time", 200, 400), Axis("width", 2, 40)))
    assert shapes(example_feeds([spec], Settings())) == {"x": (1, 200, 40)}
    asked = Settings(shapes={"x": (1, 8, 8)})
    assert shapes(example_feeds([spec], asked)) == {"x": (1, 8, 8)}


def test_a_shape_reaches_all_axes_of_its_name():
    feeds = example_feeds([MASK, IDS], Settings(shapes={"input_ids": (4, 16)}))
    assert shapes(feeds) == {"attention_mask": (4, 16), "input_ids": (4, 16)}


def test_a_sample_is_repeated_and_cropped_so_that_ids_stay_in_range():
    sample = {"input_ids": np.array([[7, 8, 9], [4, 5, 6]]), "attention_mask": np.ones((2, 3), int)}
    feeds = example_feeds([IDS, MASK], Settings(), sample)
    np.testing.assert_array_equal(feeds["input_ids"], [[7, 8, 9]])
    feeds = example_feeds([IDS, MASK], Settings(shapes={"input_ids": (3, 5)}), sample)
    np.testing.assert_array_equal(
        feeds["input_ids"], [[7, 8, 9, 7, 8], [4, 5, 6, 4, 5], [7, 8, 9, 7, 8]]
    )


def test_a_fixed_axis_is_kept_and_may_be_the_batch():
    fixed = TensorSpec("x", "float32", (8, 3))
    assert example_feeds([fixed], Settings())["x"].shape == (8, 3)
    assert example_feeds([fixed], Settings(batch=8))["x"].shape == (8, 3)
    with pytest.raises(RequestError, match="fixed at 8"):
        example_feeds([fixed], Settings(batch=4))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"inputids": (1, 2)}, "did you mean 'input_ids'"),
        ({"input_ids": (1,)}, "1 axes"),
        ({"input_ids": (1, 0)}, "axis 1 of 'input_ids' cannot be 0"),
        ({"pixels": (1, 4, 8, 8)}, "axis 1 of 'pixels' cannot be 4"),
        ({"input_ids": (1, 8), "attention_mask": (1, 9)}, "both 8 and 9"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(wanted, message):
    with pytest.raises(RequestError) as error:
        example_feeds([IDS, MASK, IMAGE], Settings(shapes=wanted))
    assert message in str(error.value)


def test_text_cannot_be_made_up():
    with pytest.raises(ModelError, match="make up"):
        example_feeds([TensorSpec("t", "object", (None,))], Settings())


def test_shapes_and_batch_must_agree_so_that_samples_are_counted_right():
    with pytest.raises(RequestError, match="the batch is 4, and the shapes asked for begin with 1"):
        example_feeds([IDS, MASK], Settings(batch=4, shapes={"input_ids": (1, 16)}))
    feeds = example_feeds([IDS, MASK], Settings(batch=4, shapes={"input_ids": (4, 16)}))
    assert shapes(feeds) == {"input_ids": (4, 16), "attention_mask": (4, 16)}
    boxes = TensorSpec("boxes", "float32", ("boxes", 4))
    feeds = example_feeds([IMAGE, boxes], Settings(batch=2, shapes={"boxes": (10, 4)}))
    assert shapes(feeds) == {"pixels": (2, 3, 224, 224), "boxes": (10, 4)}
