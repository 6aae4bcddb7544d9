"""Cut a part out of a graph: what lies between given tensors and wanted ones, and run it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from lissom.sessions import SESSION_ERRORS, refusal, session_options

Arrays = Mapping[str, NDArray[Any]]
# Constants of fewer bytes are copied into every part: the runtime reads shapes from them.
SMALL = 1024


class Network:
    """A graph by names: who makes a tensor, who reads it."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        graph = model.graph
        self.nodes = list(graph.node)
        self.maker = {name: node for node in self.nodes for name in node.output if name}
        self.place = {name: at for at, node in enumerate(self.nodes) for name in node.output}
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = {
            value.name: value for value in graph.input if value.name not in self.constants
        }
        self.outputs = [value.name for value in graph.output]
        self.reads = {id(node): tuple(_reads(node)) for node in self.nodes}
        self.lent: dict[str, ort.OrtValue] = {}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in self.reads[id(node)]:
                self.readers.setdefault(name, []).append(node)

    def between(self, given: Collection[str], wanted: Sequence[str]) -> Part:
        """The nodes that compute `wanted` from `given`, graph inputs and constants."""
        known = set(given)
        nodes: set[int] = set()
        reads: set[str] = set()
        stack = [name for name in wanted if name not in known]
        while stack:
            name = stack.pop()
            node = self.maker.get(name)
            if node is None:
                reads.add(name)
                continue
            at = self.place[name]
            if at in nodes:
                continue
            nodes.add(at)
            for read in self.reads[id(node)]:
                if read in known:
                    reads.add(read)
                else:
                    stack.append(read)
        reads |= known & set(wanted)
        constants = [name for name in self.constants if name in reads]
        inputs = sorted(reads - set(constants))
        return Part(self, [self.nodes[at] for at in sorted(nodes)], inputs, constants, list(wanted))

    def lend(self, name: str) -> ort.OrtValue | None:
        """A large constant as sessions can share it; None for one that stays in the graph."""
        tensor = self.constants[name]
        if name in self.lent:
            return self.lent[name]
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        if np.dtype(dtype).isbuiltin != 1 or math.prod(tensor.dims) * dtype.itemsize < SMALL:
            return None
        array = np.ascontiguousarray(numpy_helper.to_array(tensor))
        self.lent[name] = ort.OrtValue.ortvalue_from_numpy(array)
        return self.lent[name]

    def behind(self, names: Collection[str]) -> set[str]:
        """All tensors that depend on one of these."""
        found = set(names)
        for node in self.nodes:
            if any(name in found for name in self.reads[id(node)]):
                found.update(name for name in node.output if name)
        return found


def network_of(model: ir.Model) -> Network:
    """The network of a graph, its weights in memory."""
    ir.external_data.load_to_model(model)
    return Network(ir.serde.serialize_model(model))


class Part:
    """Nodes cut out of a network, with what they read and what is wanted of them."""

    def __init__(
        self,
        network: Network,
        nodes: list[onnx.NodeProto],
        inputs: list[str],
        constants: list[str],
        wanted: list[str],
    ) -> None:
        self.network, self.nodes = network, nodes
        self.inputs, self.constants, self.wanted = inputs, constants, wanted

    def session(self, types: Mapping[str, Any], threads: int = 1) -> Session:
        """Open it, with inputs of these numpy types."""
        return Session(self, types, threads)


class Session:
    """A part that runs.

    Raises:
        ModelError: the runtime refuses it.
    """

    def __init__(self, part: Part, types: Mapping[str, Any], threads: int = 1) -> None:
        self.inputs = part.inputs
        self.given = [name for name in part.wanted if name in part.inputs]
        self.wanted = [name for name in part.wanted if name not in part.inputs]
        network = part.network
        graph = onnx.GraphProto(name="part")
        graph.node.extend(part.nodes)
        shared: dict[str, ort.OrtValue] = {}
        for name in part.constants:
            constant, value = network.constants[name], network.lend(name)
            if value is not None:
                shared[name] = value
                constant = _elsewhere(constant)
            graph.initializer.append(constant)
        for name in part.inputs:
            declared = network.inputs.get(name)
            if declared is not None:
                graph.input.append(declared)
            else:
                kind = helper.np_dtype_to_tensor_dtype(np.dtype(types.get(name, np.float32)))
                graph.input.append(helper.make_tensor_value_info(name, kind, None))
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in self.wanted)
        model = onnx.ModelProto(
            ir_version=network.model.ir_version, opset_import=network.model.opset_import
        )
        model.graph.CopyFrom(graph)
        options = session_options(threads)
        # As written: what kernels make of it is another question.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        # There are many sessions at a time: none is to keep memory between runs.
        options.enable_mem_pattern = options.enable_cpu_mem_arena = False
        options.add_external_initializers(list(shared), list(shared.values()))
        self.runs: ort.InferenceSession | None = None
        if self.wanted:
            try:
                self.runs = ort.InferenceSession(
                    model.SerializeToString(), options, providers=["CPUExecutionProvider"]
                )
            except SESSION_ERRORS as error:
                raise refusal(error, "a part of the graph") from None

    def __call__(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """What is wanted, by name.

        Raises:
            ModelError: the runtime cannot run it.
        """
        found = {name: feeds[name] for name in self.given}
        if self.runs is None:
            return found
        taken = {each.name for each in self.runs.get_inputs()}
        try:
            arrays = self.runs.run(self.wanted, {n: feeds[n] for n in self.inputs if n in taken})
        except SESSION_ERRORS as error:
            raise refusal(error, "a part of the graph") from None
        return found | dict(zip(self.wanted, arrays, strict=True))


def _elsewhere(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """A constant that the graph says is in a file; the runtime takes what it is lent instead."""
    found = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    found.data_location = onnx.TensorProto.EXTERNAL
    found.external_data.add(key="location", value="lent")
    return found


def _reads(node: onnx.NodeProto) -> list[str]:
    """What a node reads, in its bodies too."""
    found = [name for name in node.input if name]
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            made = {name for each in graph.node for name in each.output}
            made |= {tensor.name for tensor in graph.initializer}
            made |= {value.name for value in graph.input}
            for each in graph.node:
                found += [name for name in _reads(each) if name not in made]
            found += [value.name for value in graph.output if value.name not in made]
    return found
