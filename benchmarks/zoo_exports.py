"""Small models written by other exporters: PyTorch's two, skl2onnx, onnxmltools, tf2onnx.

Each maker writes one file. Weights are random or trained for a moment: a file's form is what
matters here, not what it has learnt. A maker imports its exporter itself, so that one that is not
installed costs only its own files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROWS = 300


def _pixels() -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)

    def block(taken: int, given: int, stride: int) -> list[nn.Module]:
        kernel = nn.Conv2d(taken, given, 3, stride, 1, bias=False)
        return [kernel, nn.BatchNorm2d(given), nn.ReLU()]

    layers = [*block(3, 32, 2), *block(32, 64, 2), *block(64, 128, 2), *block(128, 256, 2)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 100)]
    return nn.Sequential(*layers, *head).eval()


def _text(offset: int = 0) -> Any:
    import torch
    from torch import nn

    class Encoder(nn.Module):
        """Token ids to one vector a text; ids may begin at `offset`."""

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(4000, 128)
            layer = nn.TransformerEncoderLayer(128, 4, 512, batch_first=True)
            self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            hidden = self.layers(self.table(ids - offset), src_key_padding_mask=mask == 0)
            weight = mask.unsqueeze(-1).to(hidden.dtype)
            return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1.0)

    torch.manual_seed(0)
    return Encoder().eval()


def _image() -> tuple[Any, ...]:
    import torch

    return (torch.randn(2, 3, 64, 64),)


def _tokens(offset: int = 0) -> tuple[Any, ...]:
    import torch

    return (torch.randint(0, 4000, (2, 16)) + offset, torch.ones(2, 16, dtype=torch.int64))


def _classic(module: Any, args: tuple[Any, ...], out: Path, opset: int, **names: Any) -> None:
    import torch

    torch.onnx.export(module, args, str(out), dynamo=False, opset_version=opset, **names)


def _dynamo(module: Any, args: tuple[Any, ...], out: Path, **names: Any) -> None:
    import torch

    torch.onnx.export(module, args, str(out), dynamo=True, **names)


def torch_images(opset: int) -> Callable[[Path], None]:
    """A convolutional network by PyTorch's classic exporter."""

    def make(out: Path) -> None:
        axes = {"image": {0: "batch"}}
        _classic(_pixels(), _image(), out, opset, input_names=["image"], dynamic_axes=axes)

    return make


def torch_text(opset: int, offset: int = 0) -> Callable[[Path], None]:
    """A transformer over token ids by PyTorch's classic exporter."""

    def make(out: Path) -> None:
        free = {0: "batch", 1: "sequence"}
        names = {"input_names": ["ids", "mask"], "dynamic_axes": {"ids": free, "mask": free}}
        _classic(_text(offset), _tokens(offset), out, opset, **names)

    return make


def torch_state(out: Path) -> None:
    """An LSTM that takes and gives its state: three inputs, three outputs."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    args = (torch.randn(1, 20, 64), (torch.zeros(2, 1, 256), torch.zeros(2, 1, 256)))
    module = nn.LSTM(64, 256, 2, batch_first=True).eval()
    names = {"input_names": ["frames", "h", "c"], "output_names": ["out", "h_out", "c_out"]}
    _classic(module, args, out, 17, **names, dynamic_axes={"frames": {1: "time"}})


def torch_lengths(out: Path) -> None:
    """Two inputs whose lengths must agree, though the file gives them two names."""
    import torch
    from torch import nn

    class Mix(nn.Module):
        """A sum of two sequences."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 64)

        def forward(self, near: torch.Tensor, far: torch.Tensor) -> torch.Tensor:
            return self.layer((near.reshape(1, -1) - far.reshape(1, -1))[..., None])

    axes = {"near": {1: "left"}, "far": {2: "right"}}
    args = (torch.randn(1, 32), torch.randn(1, 2, 16))
    _classic(Mix(), args, out, 17, input_names=["near", "far"], dynamic_axes=axes)


def dynamo_images(out: Path) -> None:
    """The convolutional network by PyTorch's new exporter."""
    import torch

    axes = {"input": {0: torch.export.Dim("batch")}}
    _dynamo(_pixels(), _image(), out, input_names=["image"], dynamic_shapes=axes)


def dynamo_text(out: Path) -> None:
    """The transformer by PyTorch's new exporter, its weights in a file beside it."""
    import torch

    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence", max=512)}
    _dynamo(_text(), _tokens(), out, dynamic_shapes={"ids": free, "mask": free})


def _table() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    values = random.normal(size=(ROWS, 20)).astype(np.float32)
    return values, (values[:, 0] + values[:, 1] > 0).astype(np.int64)


def sklearn_forest(out: Path) -> None:
    """A tree ensemble: everything it has learnt is in attributes."""
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier

    values, labels = _table()
    forest = RandomForestClassifier(100, random_state=0).fit(values, labels)
    out.write_bytes(to_onnx(forest, values[:1]).SerializeToString())


def sklearn_mlp(out: Path) -> None:
    """A perceptron whose probabilities come out as a sequence of maps."""
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPClassifier

    values, labels = _table()
    network = MLPClassifier((256, 256), max_iter=5, random_state=0).fit(values, labels)
    out.write_bytes(to_onnx(network, values[:1]).SerializeToString())


def sklearn_mlp_opset_11(out: Path) -> None:
    """A regressor of an old operator set, with plain outputs."""
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPRegressor

    values, labels = _table()
    network = MLPRegressor(hidden_layer_sizes=(256, 256), max_iter=5, random_state=0).fit(
        values, labels
    )
    out.write_bytes(to_onnx(network, values[:1], target_opset=11).SerializeToString())


def sklearn_pipeline(out: Path) -> None:
    """Text, whole numbers and floats through encoders into a perceptron."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common import data_types as types
    from sklearn.compose import ColumnTransformer
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    values, labels = _table()
    rows = np.empty((ROWS, 3), object)
    rows[:, 0] = np.where(values[:, 2] > 0, "north", "south")
    rows[:, 1] = (values[:, 3] > 0).astype(np.int64)
    rows[:, 2] = values[:, 0]
    once = OneHotEncoder(handle_unknown="ignore")
    columns = [("place", once, [0]), ("count", once, [1]), ("size", StandardScaler(), [2])]
    network = MLPClassifier((128, 128), max_iter=5, random_state=0)
    fitted = make_pipeline(ColumnTransformer(columns), network).fit(rows, labels)
    inputs = [
        ("place", types.StringTensorType([None, 1])),
        ("count", types.Int64TensorType([None, 1])),
        ("size", types.FloatTensorType([None, 1])),
    ]
    made = convert_sklearn(fitted, initial_types=inputs, options={"zipmap": False})
    out.write_bytes(made.SerializeToString())


def lightgbm_trees(out: Path) -> None:
    """Boosted trees through onnxmltools."""
    import lightgbm
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    values, labels = _table()
    trees = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(values, labels)
    made = convert_lightgbm(trees, initial_types=[("row", FloatTensorType([None, 20]))])
    out.write_bytes(made.SerializeToString())


def _tf(model: Any, out: Path, opset: int, shape: tuple[int | None, ...], dtype: str) -> None:
    import tensorflow as tf
    import tf2onnx

    signature = [tf.TensorSpec(shape, dtype, name="x")]
    function = tf.function(lambda x: model(x, training=False), input_signature=signature)
    tf2onnx.convert.from_function(function, signature, opset=opset, output_path=str(out))


def keras_images(opset: int) -> Callable[[Path], None]:
    """Keras's MobileNetV2, channels last, through tf2onnx."""

    def make(out: Path) -> None:
        import keras

        keras.utils.set_random_seed(0)
        model = keras.applications.MobileNetV2((96, 96, 3), alpha=0.5, weights=None, classes=50)
        _tf(model, out, opset, (None, 96, 96, 3), "float32")

    return make


def keras_text(out: Path) -> None:
    """An embedding, an LSTM and a classifier in Keras, over int32 ids."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    stack = [
        keras.Input((None,), dtype="int32"),
        layers.Embedding(5000, 64),
        layers.LSTM(128),
        layers.Dense(20),
    ]
    _tf(keras.Sequential(stack), out, 15, (None, None), "int32")
