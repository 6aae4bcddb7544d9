"""A quantized graph computed with reals, whose rounding and clipping can be switched off.

Codes become real numbers without their zero point, `x / scale`; inputs of the graph say whether
they are rounded to integers and whether they are clipped to the range of their type. With all of
that it computes what the integer kernels should, up to the precision of float32: sums are exact,
never saturated. With none what is left of the error is that of the stored weights and biases.
Weights are constants, the reals that their codes stand for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx

from lissom.diagnosis.stored import StoredWeight

# Inputs of the graph, bool scalars.
ROUND, CLIP = "lissom.diagnosis.round", "lissom.diagnosis.clip"
# The same for ends of grids that are zero, where clipping often stands for a ReLU.
CLIP_ZERO = "lissom.diagnosis.clip_at_zero"
SWITCHES = (ROUND, CLIP, CLIP_ZERO)


@dataclass(frozen=True)
class Quantizer:
    """Where codes are made of an activation.

    Attributes:
        source: the tensor that is quantized.
        codes: the tensor of its codes.
        low, high: the ends of its grid; None where they are found while running, or differ from
            channel to channel.
        scale: the step; None likewise.
        zero_point: the code of zero.
        bits: of the codes.
        signed: whether they are.
        zero: the tensor that holds the zero point where it is found while running.
    """

    source: str
    codes: str
    low: float | None
    high: float | None
    scale: float | None
    zero_point: int
    bits: int
    signed: bool = False
    zero: str = ""


@dataclass
class Reals:
    """The graph in reals and what was found on the way.

    Attributes:
        proto: the graph, with the switches among its inputs.
        quantizers: by the name of the codes.
        weights: by the name of the constant that stands for them.
        same: the tensor before quantization by any tensor that holds its codes, or the reals those
            stand for.
        widths: bits of the stored weights, by the name of the constant.
        inside: tensors on the way from a tensor to its codes and back.
    """

    proto: onnx.ModelProto
    quantizers: dict[str, Quantizer] = field(default_factory=dict)
    weights: dict[str, StoredWeight] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)
    inside: set[str] = field(default_factory=set)

    def root(self, name: str) -> str:
        """The tensor before quantization that a tensor holds, itself where it holds no codes."""
        while name in self.same:
            name = self.same[name]
        return name
