"""Where the errors of two networks' outputs are measured: at these, or what they are made of."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from lissom.diagnosis.cut import Network
from lissom.graph.compared import compared


def ends(
    original: Network, file: Network, reals: Network, outputs: Mapping[str, str]
) -> dict[str, str]:
    """The compressed network's tensor for each of the original's at which they are compared.

    Inside of the network it is the one of that name, or else the one at the same place among
    those that the compressed file's own outputs are made of.

    Args:
        original: the float network.
        file, reals: the compressed one, as it is and in reals.
        outputs: its output for each of the original's.

    Returns:
        Nothing where no such tensor is in both.
    """
    ours, theirs = (compared(ir.serde.deserialize_model(one.model)) for one in (original, file))
    found = {name: outputs[name] for name in ours if name in outputs}
    if found:
        return found
    places = dict(zip(ours, theirs, strict=False)) if len(ours) == len(theirs) else {}
    for name in ours:
        other = name if name in file.maker else places.get(name)
        if other is not None and other in file.maker and other in reals.maker:
            found[name] = other
    return found
