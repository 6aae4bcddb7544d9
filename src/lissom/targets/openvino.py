"""OpenVINO on a CPU: the same ONNX files, opened, run and measured there.

OpenVINO reads the QuantizeLinear/DequantizeLinear pairs and makes integer kernels of them, as ONNX
Runtime does. What it makes of each format, and how its kernels add, was found out by experiment:
docs/targets.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from lissom.arrays import Array, Batch
from lissom.errors import LissomError, ModelError, RequestError
from lissom.failures import cannot_run, cannot_run_batch, is_memory, no_memory
from lissom.onnx_file import inputs_of, outputs_of
from lissom.tables import STATIC, Format
from lissom.targets.cpu import class_of, pair_sums_of
from lissom.targets.kernels import Clock
from lissom.targets.machine import Machine, this_machine
from lissom.targets.openvino_package import openvino_package
from lissom.targets.target import Opener

TITLE = "OpenVINO"
# What it raises, whatever is wrong: of the file, of the inputs, of a plugin.
ERRORS = (RuntimeError, TypeError, ValueError, MemoryError)
# Lines of its messages that say where in its sources, and not what.
PLACES = ("Exception from ", "Check '", "FrontEnd API failed")
# Planes of bits that a graph puts together: folded while loading, but to floats.
PLANES = "OpenVINO computes with weights of this width in float32"


@dataclass(frozen=True)
class OpenVino:
    """The runtime and the machine it is on; see `lissom.targets.target.Target`."""

    machine: Machine
    version: str
    cpu: str
    pair_sums: bool
    here: bool

    name = "openvino"
    title = TITLE

    @property
    def open(self) -> Opener:
        """Opens a file for running."""
        return open_file

    @property
    def clock(self) -> Clock:
        """Tells what every kernel of a file takes."""
        from lissom.targets.openvino_clock import OpenVinoClock

        return OpenVinoClock()

    @property
    def must_be_exact(self) -> bool:
        """Whether this machine would add wrongly what is right on the processor it is built for."""
        return not self.pair_sums and kernels_saturate()

    def slow(self, format: Format) -> str | None:
        """Why layers in a format run slower here than in float, None where they do not."""
        if format == "w8a8 dynamic":
            return "OpenVINO computes MatMulInteger in float32, slower than the float model"
        if STATIC.get(format, 8) not in (4, 8):
            return PLANES
        return None


@dataclass(frozen=True)
class OpenFile:
    """A file that OpenVINO has compiled, with one request to run it."""

    path: Path | str
    compiled: Any

    errors = ERRORS

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names as the file has them: a port may have several."""
        ports = self.compiled.inputs
        if all(len(port.names) == 1 for port in ports):
            return tuple(port.any_name for port in ports)
        return tuple(spec.name for spec in inputs_of(self.path))

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names as the file has them."""
        return tuple(spec.name for spec in outputs_of(self.path))

    @cached_property
    def _request(self) -> Any:
        return self.compiled.create_infer_request()

    def __call__(self, feeds: Batch) -> list[Any]:
        """Run once."""
        found = self._request.infer(self._taken(feeds))
        return [np.array(found[port]) for port in self.compiled.outputs]

    def repeated(self, feeds: Batch) -> Callable[[], object]:
        """A function that runs once on these feeds, without copies of inputs and outputs."""
        infer, taken = self._request.infer, self._taken(feeds)
        return lambda: infer(taken, share_inputs=True, share_outputs=True)

    def profile(self) -> Any:
        """What each node took, the mean of all runs so far; of a file opened with `count`."""
        return self._request.get_profiling_info()

    def _taken(self, feeds: Batch) -> Batch:
        """What the model takes of them.

        It would run with what it had before for one that is missing, and where any size is free
        it does not look at the others.
        """
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            raise ValueError(f"there is no input {', '.join(missing)}")
        taken = {name: feeds[name] for name in self.inputs}
        for port, (name, array) in zip(self.compiled.inputs, taken.items(), strict=True):
            wanted, shape = port.partial_shape, list(array.shape)
            if not wanted.compatible(openvino_package().PartialShape(shape)):
                raise ValueError(f"input {name!r} is {shape}, and the model takes {wanted}")
        return taken

    def failed_run(self, error: BaseException, feeds: Batch) -> LissomError:
        """Why a run on inputs made for it failed."""
        inputs = inputs_of(self.path)
        return cannot_run(error, reason(error), inputs, feeds, self.path, TITLE)

    def failed_batch(self, error: BaseException, batch: Batch, name: str) -> LissomError:
        """Why a run on the user's data failed."""
        return cannot_run_batch(error, reason(error), batch, name, self.path, TITLE)


def open_file(
    path: Path | str,
    *,
    threads: int = 1,
    exact: bool = False,
    in_turns: bool = False,
    count: bool = False,
) -> OpenFile:
    """Open a model file, see `lissom.targets.target.Opener`; with `count`, OpenVINO times its
    nodes.

    Floats are computed as float32: left alone, OpenVINO takes bfloat16 or float16 where the
    processor has it, and what is compared would depend on the machine. With `exact`, what is
    quantized is computed in float32 too, to the rounding of which sums of products are exact.

    Raises:
        ModelError: OpenVINO refuses the file.
        RunError: there is not enough memory.
        MissingExtra: OpenVINO is not installed.
    """
    openvino = openvino_package()
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        # Measuring processes are pinned as a whole, and others are not to be.
        "ENABLE_CPU_PINNING": False,
    }
    if exact:
        settings["LP_TRANSFORMS_MODE"] = "NO"
    if count:
        settings["PERF_COUNT"] = True
    if not Path(path).is_file():
        raise _refused(f"there is no file {Path(path).name}", path)
    try:
        core = openvino.Core()
        return OpenFile(path, core.compile_model(core.read_model(str(path)), "CPU", settings))
    except ERRORS as error:
        if is_memory(error):
            raise no_memory(f"{TITLE} {openvino.__version__}", path) from None
        raise _refused(reason(error), path) from None


def _refused(why: str, path: Path | str) -> ModelError:
    return ModelError(
        f"{TITLE} refuses the model: {why}",
        where=str(path),
        fix="check the file with onnx.checker.check_model; where an operator is not supported, "
        "build for --target onnxruntime",
    )


def reason(error: BaseException) -> str:
    """What it says, without places in its sources."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(PLACES)]
    return " ".join(told) or type(error).__name__


@cache
def openvino_target(cpu: str | None = None) -> OpenVino:
    """OpenVINO on this machine, or built here for another class of processor.

    Raises:
        MissingExtra: it is not installed.
        RequestError: there is no such class, or nothing is known of it.
    """
    version = openvino_package().__version__.partition("-")[0]
    machine = this_machine()
    own = class_of(machine, saturates=kernels_saturate())
    cpu = own if cpu is None else cpu
    known = pair_sums_of(cpu)
    if cpu == "neon" != own:
        raise RequestError(
            f"how {TITLE} adds products on {cpu} is not known: it was not tried",
            fix="run the same command on such a machine, or build for --target onnxruntime",
        )
    return OpenVino(
        machine=machine,
        version=version,
        cpu=cpu,
        pair_sums=known if cpu != own else kernels_saturate(),
        here=cpu == own,
    )


@cache
def kernels_saturate() -> bool:
    """Whether unsigned x signed 8-bit kernels on this machine give wrong sums, by trying.

    A product whose codes are all the largest: 64 times 255 * 127. On x86 without VNNI pairs of
    these are added in 16 bits and every sum comes out too small.

    Raises:
        MissingExtra: OpenVINO is not installed.
    """
    depth, columns = 64, 32
    found = _product_of_largest(depth, columns)
    return not np.allclose(found, depth, rtol=1e-3)


def _product_of_largest(depth: int, columns: int) -> Array:
    """Ones times ones, quantized to the largest codes."""
    openvino = openvino_package()
    constants = {
        "scale": np.float32(1 / 255),
        "zero": np.uint8(0),
        "codes": np.full((depth, columns), 127, np.int8),
        "scales": np.full(columns, 1 / 127, np.float32),
        "zeros": np.zeros(columns, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["quantized"]),
        helper.make_node("DequantizeLinear", ["quantized", "scale", "zero"], ["activations"]),
        helper.make_node("DequantizeLinear", ["codes", "scales", "zeros"], ["weights"], axis=1),
        helper.make_node("MatMul", ["activations", "weights"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, depth])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, columns])
    stored = [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()]
    graph = helper.make_graph(nodes, "saturation_probe", [x], [y], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)
    return np.array(compiled([np.ones((4, depth), np.float32)])[0])
