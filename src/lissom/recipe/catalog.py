"""The visible imports that fill the table of techniques."""

from lissom.graph.optimize import Optimize
from lissom.quantize.dynamic import Dynamic
from lissom.quantize.float16 import Float16
from lissom.quantize.static import Static
from lissom.quantize.weight_only import WeightOnly

__all__ = ["Dynamic", "Float16", "Optimize", "Static", "WeightOnly"]
