"""Graphs of a few nodes, opened for editing, and the two ways the tests run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from lissom.sessions import session_options
from tests.models import IR_VERSIONS


def node(kind, inputs, outputs, **attributes):
    """A node; one output may be given as a plain name."""
    outputs = [outputs] if isinstance(outputs, str) else outputs
    return helper.make_node(kind, inputs, outputs, name=f"{outputs[0]}/{kind}", **attributes)


def tensor(name, dtype=TensorProto.FLOAT, shape=None):
    return helper.make_tensor_value_info(name, dtype, shape)


def proto(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[str | onnx.ValueInfoProto],
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    opset: int = 17,
    check: bool = True,
    **more: object,
) -> onnx.ModelProto:
    """A checked model; outputs given by name are float32 of the shape that ONNX infers."""
    graph = helper.make_graph(
        nodes,
        "small",
        inputs,
        [tensor(out) if isinstance(out, str) else out for out in outputs],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in (constants or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSIONS[opset], **more)
    model = onnx.shape_inference.infer_shapes(model)
    del model.graph.value_info[:]
    if check:
        onnx.checker.check_model(model)
    return model


def opened(*arguments, **more) -> ir.Model:
    """`proto` as a graph to edit."""
    return ir.from_proto(proto(*arguments, **more))


def bytes_of(model) -> bytes:
    if isinstance(model, ir.Model):
        model = ir.to_proto(model)
    return model.SerializeToString(deterministic=True)


def run(model, feeds, *, optimize: bool = True) -> list[np.ndarray]:
    """All outputs, by ONNX Runtime."""
    session = ort.InferenceSession(
        bytes_of(model), session_options(optimize=optimize), providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def reference(model, feeds) -> list[np.ndarray]:
    """All outputs, by the evaluator that ONNX defines its operators with."""
    if isinstance(model, ir.Model):
        model = ir.to_proto(model)
    return ReferenceEvaluator(model).run(None, feeds)


def checked(model: ir.Model) -> ir.Model:
    """The model, after ONNX's own checker has read it."""
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    return model


def ops(model: ir.Model) -> list[str]:
    """Operator types of the main graph, in order."""
    return [each.op_type for each in model.graph]


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Normal float32 numbers."""
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def branching(then: Sequence[onnx.NodeProto], otherwise: Sequence[onnx.NodeProto], out: str):
    """An If on the input "flag" whose branches' nodes give `<out>_then` and `<out>_else`."""
    branches = {
        "then_branch": helper.make_graph(then, "then", [], [tensor(f"{out}_then")]),
        "else_branch": helper.make_graph(otherwise, "otherwise", [], [tensor(f"{out}_else")]),
    }
    return node("If", ["flag"], out, **branches)


FLAG = tensor("flag", TensorProto.BOOL, [])
