"""Networks that are quantized once for all tests of this folder."""

from __future__ import annotations

import pytest

from tests.diagnosis.networks import Quantized, images, quantized, residual, sentences, transformer


@pytest.fixture(scope="session")
def healthy(tmp_path_factory) -> dict[tuple[str, str], Quantized]:
    """By network and width of the weights' codes."""
    found = {}
    for weights in ("full", "reduced"):
        folder = tmp_path_factory.mktemp(weights)
        image = residual(high=weights == "reduced")
        made = quantized(image, images(), folder, weights=weights, keep_float=("logits*",))
        found["residual", weights] = made
        made = quantized(transformer(), sentences(), folder, weights=weights)
        found["transformer", weights] = made
    return found
