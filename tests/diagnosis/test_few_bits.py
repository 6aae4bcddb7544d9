"""Layers of few bits among others: what they are told to do brings what is foretold."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from lissom.batches import Batches
from lissom.diagnosis.diagnose import diagnose
from lissom.diagnosis.verdict import with_verdicts
from lissom.graph.optimize import Optimize, optimize
from lissom.onnx_file import write_onnx
from lissom.quantize.mixed import Mixed, mixed
from lissom.quantize.static import Static, static
from lissom.technique import Context
from tests.diagnosis.networks import images, residual, sentences, transformer
from tests.models import saved

NARROW = "half.first.sum/Conv"


def compressed(technique, model, settings, batches, path):
    graph = optimize(ir.from_proto(onnx.ModelProto.FromString(model)), Optimize(), Context())
    write_onnx(technique(graph, settings, Context(calibration=Batches.of(batches))), path)
    return path


@pytest.mark.parametrize("named", [True, False])
def test_more_bits_bring_what_is_foretold(named, tmp_path):
    model, batches = residual(), images()
    if not named:
        for node in model.graph.node:
            node.name = ""
    original = saved(model, tmp_path / "original.onnx")
    plain = model.SerializeToString()
    # As graph.optimize calls the weight, into which it folds the batch norm.
    called = NARROW if named else "half.first.normed_weight"
    file = compressed(
        static, plain, Static(layer_bits={called: 2}), batches, tmp_path / "narrow.onnx"
    )
    found = with_verdicts(diagnose(original, file, batches, pair_sums=False))
    first = found.verdicts[0]
    assert first.config == {"layer_bits": {called: 4}}
    assert "2-bit weights make 100 % of what it adds" in first.words
    settings = Static(**first.config)
    mended = compressed(static, plain, settings, batches, tmp_path / "mended.onnx")
    after = diagnose(original, mended, batches, pair_sums=False)
    measured = 1 - after.output_error / found.output_error
    assert abs(first.gain - measured) < measured / 3


def test_layers_in_formats_of_their_own(tmp_path):
    model, batches = transformer(), sentences()
    original = saved(model, tmp_path / "original.onnx")
    formats = {
        "0.query.product/MatMul": "w2",
        "0.key.product/MatMul": "w8a8 dynamic",
        "0.up.product/MatMul": "w3a8",
    }
    settings = Mixed(layers=formats, default="w8a8")
    plain = model.SerializeToString()
    file = compressed(mixed, plain, settings, batches, tmp_path / "mixed.onnx")
    found = with_verdicts(diagnose(original, file, batches, pair_sums=False))
    layers = {each.name: each for each in found.layers}
    assert [layers[name].weight_bits for name in formats] == [2, 8, 3]
    assert layers["0.key.product/MatMul"].grid.dynamic
    assert not layers["0.up.product/MatMul"].grid.dynamic
    first = found.verdicts[0]
    assert (first.layer, first.cause) == ("0.query.product/MatMul", "weights")
    assert (first.technique, first.config) == (
        "quantize.mixed",
        {"layers": {"0.query.product/MatMul": "w4"}},
    )
    settings = Mixed(layers=formats | first.config["layers"], default="w8a8")
    mended = compressed(mixed, plain, settings, batches, tmp_path / "mended.onnx")
    after = diagnose(original, mended, batches, pair_sums=False)
    measured = 1 - after.output_error / found.output_error
    assert abs(first.gain - measured) < measured / 3
