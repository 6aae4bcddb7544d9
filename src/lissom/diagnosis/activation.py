"""Where codes do the work of a layer's activation: their grid ends where the activation does."""

from __future__ import annotations

from lissom.diagnosis.anchors import Anchor
from lissom.diagnosis.cut import Network
from lissom.diagnosis.reals import Reals


def kept_by_codes(
    anchor: Anchor, root: str, reals: Reals, network: Network
) -> tuple[float | None, float | None]:
    """The range of the original's activation that the codes of a tensor keep its values in.

    Args:
        anchor: the layer.
        root: the tensor of the compressed graph that is quantized behind it.
        reals, network: the compressed graph in reals.

    Returns:
        The low and the high end; None for one that the activation has not, or some reader of the
        tensor sees beyond.
    """
    grids = [q for q in reals.quantizers.values() if q.source == root and q.scale]
    readers = network.readers.get(root, [])
    seen_as_float = root in network.outputs or any(
        not set(reader.output) & reals.inside for reader in readers
    )
    if not grids or seen_as_float:
        return None, None
    low, high = anchor.low, anchor.high
    for each in grids:
        # As long as one reader sees more, the activation is missing.
        assert each.low is not None and each.high is not None and each.scale is not None
        if low is not None and each.low < low - each.scale:
            low = None
        if high is not None and each.high > high + each.scale:
            high = None
    return low, high
