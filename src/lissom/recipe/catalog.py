"""The visible imports that fill the table of techniques."""

from lissom.distill.logits import Logits
from lissom.graph.optimize import Optimize
from lissom.prune.structured import StructuredPruning
from lissom.quantize.dynamic import Dynamic
from lissom.quantize.equalize import Equalize
from lissom.quantize.float16 import Float16
from lissom.quantize.mixed import Mixed
from lissom.quantize.smooth import Smooth
from lissom.quantize.static import Static
from lissom.quantize.weight_only import WeightOnly

__all__ = [
    "Dynamic",
    "Equalize",
    "Float16",
    "Logits",
    "Mixed",
    "Optimize",
    "Smooth",
    "Static",
    "StructuredPruning",
    "WeightOnly",
]
