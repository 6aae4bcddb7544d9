"""names.json: every parameter's initializer holds that parameter's numbers."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from lissom.nn.names import match_parameters, rename_initializers
from tests.nn.conftest import Exported

torch = pytest.importorskip("torch")


def test_every_parameter_is_found_with_its_own_values(encoder: Exported) -> None:
    names = json.loads((encoder.result.path.parent / "names.json").read_text())
    stored = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(encoder.result.path).graph.initializer
    }
    parameters = dict(encoder.module.named_parameters())
    assert set(names) == {f"model.{name}" for name in parameters}
    transforms = set()
    for name, parameter in parameters.items():
        entry = names[f"model.{name}"]
        assert entry["shape"] == list(parameter.shape)
        if entry["initializer"] is None:
            # The pooler is not on the way to the embedding.
            assert name.startswith("pooler.")
            assert entry["reason"]
            continue
        transforms.add(entry["transform"])
        value = stored[entry["initializer"]]
        value = value.T if entry["transform"] == "transpose" else value
        np.testing.assert_array_equal(value, parameter.detach().numpy())
    assert transforms == {"identity", "transpose"}


def test_weights_carry_the_names_of_their_layers(encoder: Exported) -> None:
    names = json.loads((encoder.result.path.parent / "names.json").read_text())
    query = "model.encoder.layer.0.attention.self.query.weight"
    assert names[query]["initializer"] == query


def test_what_was_folded_is_said_to_be(cnn: Exported) -> None:
    names = json.loads((cnn.result.path.parent / "names.json").read_text())
    assert names["1.weight"] == {
        "initializer": None,
        "transform": None,
        "shape": [6],
        "reason": "folded or unused",
    }
    assert names["6.weight"]["initializer"] is not None


def graph_of(**weights: np.ndarray) -> ir.Graph:
    values = [
        ir.Value(name=name.replace("_", "."), const_value=ir.tensor(array))
        for name, array in weights.items()
    ]
    return ir.Graph([], [], nodes=[], initializers=values)


def test_equal_values_are_told_apart_by_name_and_square_ones_by_order() -> None:
    module = torch.nn.ModuleDict({"a": torch.nn.LayerNorm(4), "b": torch.nn.LayerNorm(4)})
    one, zero = np.ones(4, np.float32), np.zeros(4, np.float32)
    graph = graph_of(b_weight=one, a_weight=one, val_1=zero)
    matches = match_parameters(module, graph)
    assert {name: match.initializer for name, match in matches.items()} == {
        "a.weight": "a.weight",
        "b.weight": "b.weight",
        "a.bias": "val.1",
        "b.bias": "val.1",
    }
    renamed = rename_initializers(graph, matches)
    assert renamed["a.bias"].initializer == renamed["b.bias"].initializer == "a.bias"
    assert set(graph.initializers) == {"a.weight", "b.weight", "a.bias"}


def test_a_transposed_and_a_missing_weight() -> None:
    module = torch.nn.Linear(3, 2)
    graph = graph_of(val=np.ascontiguousarray(module.weight.detach().numpy().T))
    matches = match_parameters(module, graph)
    assert (matches["weight"].initializer, matches["weight"].transform) == ("val", "transpose")
    assert (matches["bias"].initializer, matches["bias"].shape) == (None, (2,))
