"""ONNX Runtime on a CPU, this machine's or another: its version, and how it adds products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from lissom.arrays import Batch
from lissom.errors import LissomError
from lissom.sessions import (
    SESSION_ERRORS,
    TITLE,
    failed_batch,
    failed_run,
    open_session,
    session_options,
)
from lissom.tables import Format
from lissom.targets.cpu import class_of, pair_sums_of
from lissom.targets.kernels import Clock
from lissom.targets.machine import Machine, this_machine
from lissom.targets.onnxruntime_clock import OnnxRuntimeClock
from lissom.targets.target import Opener


@dataclass(frozen=True)
class OnnxRuntime:
    """The runtime and the machine it is on.

    Attributes:
        cpu: the class of processor that files are built for.
        pair_sums: its u8 x s8 kernels add pairs of products in 16 bits.
        here: this machine is of that class, so that a time measured here tells something.
    """

    machine: Machine
    version: str
    cpu: str
    pair_sums: bool
    here: bool

    name = "onnxruntime"
    title = TITLE

    @property
    def open(self) -> Opener:
        """Opens a file for running."""
        return open_file

    @property
    def clock(self) -> Clock:
        """Tells what every kernel of a file takes."""
        return OnnxRuntimeClock()

    def slow(self, format: Format) -> str | None:
        """Nothing that lissom makes: every format was made for this runtime."""
        return None

    @property
    def must_be_exact(self) -> bool:
        """Whether this machine would add wrongly what is right on the processor it is built for."""
        return not self.pair_sums and kernels_saturate()


@dataclass(frozen=True)
class OpenFile:
    """A file that ONNX Runtime has opened."""

    path: Path | str
    session: ort.InferenceSession

    # A ValueError is an input that is missing.
    errors = (*SESSION_ERRORS, MemoryError, ValueError)

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.session.get_inputs())

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.session.get_outputs())

    def __call__(self, feeds: Batch) -> list[Any]:
        """Run once."""
        return list(self.session.run(list(self.outputs), feeds))

    def repeated(self, feeds: Batch) -> Callable[[], object]:
        """A function that runs once on these feeds."""
        run, feeds = self.session.run, dict(feeds)
        return lambda: run(None, feeds)

    def failed_run(self, error: BaseException, feeds: Batch) -> LissomError:
        """Why a run on inputs made for it failed."""
        return failed_run(error, self.session, feeds, self.path)

    def failed_batch(self, error: BaseException, batch: Batch, name: str) -> LissomError:
        """Why a run on the user's data failed."""
        return failed_batch(error, batch, name, self.path)


def open_file(
    path: Path | str, *, threads: int = 1, exact: bool = False, in_turns: bool = False
) -> OpenFile:
    """Open a model file, see `lissom.targets.target.Opener`."""
    return OpenFile(path, open_session(path, threads=threads, exact=exact, in_turns=in_turns))


@cache
def onnxruntime_target(cpu: str | None = None) -> OnnxRuntime:
    """ONNX Runtime on this machine, or built here for another class of processor.

    Raises:
        RequestError: there is no such class.
    """
    machine = this_machine()
    own = class_of(machine, saturates=kernels_saturate())
    cpu = own if cpu is None else cpu
    return OnnxRuntime(
        machine=machine,
        version=ort.__version__,
        cpu=cpu,
        # Of this machine by trying, of another by what is known of its class.
        pair_sums=pair_sums_of(cpu) if cpu != own else kernels_saturate(),
        here=cpu == own,
    )


@cache
def kernels_saturate() -> bool:
    """Whether unsigned x signed 8-bit kernels on this machine give wrong sums, by trying.

    On x86 without VNNI the kernel multiplies unsigned activations by signed weights and adds
    adjacent pairs of products in 16 bits, so 255 * 127 twice overflows. The answer comes from
    running such a product, not from a list of processors.
    """
    rows, depth, columns = 4, 64, 32
    activations = np.full((rows, depth), 255, np.uint8)
    weights = np.full((depth, columns), 127, np.int8)
    node = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    graph = helper.make_graph(
        [node],
        "saturation_probe",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [rows, depth])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [rows, columns])],
        [numpy_helper.from_array(weights, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = ort.InferenceSession(
        model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
    )
    (result,) = session.run(None, {"a": activations})
    return not np.array_equal(result, activations.astype(np.int32) @ weights.astype(np.int32))
