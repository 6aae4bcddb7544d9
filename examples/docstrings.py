"""A retrieval task from text that is already installed: the documentation of NumPy and SciPy.

Of every function the summary line is a question and the paragraph below it the answer; a model
is right when the question's embedding lies nearest to its own answer's among the 32 of a batch.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator

import numpy as np

import lissom
from lissom.model import Model
from lissom.onnx_file import inputs_of
from lissom.sources.tokens import Tokens, open_tokens

MODULES = (
    "numpy",
    "numpy.linalg",
    "numpy.fft",
    "scipy.cluster.hierarchy",
    "scipy.fft",
    "scipy.integrate",
    "scipy.interpolate",
    "scipy.linalg",
    "scipy.ndimage",
    "scipy.optimize",
    "scipy.signal",
    "scipy.sparse",
    "scipy.spatial",
    "scipy.special",
    "scipy.stats",
)
IN_A_BATCH = 32
FOR_CALIBRATION = 4


def task(model: Model) -> lissom.Task:
    """The task for a sentence encoder, its texts read with the model's own tokenizer."""
    tokens = open_tokens(model, inputs_of(model.path) if model.path else None)
    batches = list(_batches(list(_pairs())))
    return lissom.Task(
        calibration=lambda: (_inputs(tokens, batch) for batch in batches[:FOR_CALIBRATION]),
        validation=lambda: (
            (_inputs(tokens, batch), np.arange(len(batch))) for batch in batches[FOR_CALIBRATION:]
        ),
        metric=lissom.Metric("retrieval@1 of 32", _hits, bounded=True, rows=2),
        name="documentation of NumPy and SciPy: find a function's description by its summary",
    )


def _hits(outputs: dict[str, np.ndarray], targets: np.ndarray | None) -> np.ndarray:
    """1 where a question is nearest to its own answer; rows are questions, then answers."""
    embeddings = next(iter(outputs.values()))
    questions, answers = np.split(embeddings, 2)
    return (np.argmax(questions @ answers.T, axis=1) == targets).astype(float)


def _pairs() -> Iterator[tuple[str, str]]:
    """(summary, description) of every documented function, each text once."""
    seen: set[str] = set()
    for name in MODULES:
        module = importlib.import_module(name)
        for member in sorted(vars(module)):
            text = inspect.getdoc(getattr(module, member)) if member[0] != "_" else None
            blocks = [" ".join(b.split()) for b in (text or "").split("\n\n")]
            blocks = [b for b in blocks if not b.startswith((".. ", "Parameters", "``", ">>>"))]
            # Compiled functions carry their signature in a first block of its own.
            blocks = blocks[1:] if blocks and "(" in blocks[0] else blocks
            if len(blocks) < 2:
                continue
            summary, description = blocks[:2]
            known = summary in seen or description in seen
            fits = 20 < len(summary) < 200 and 60 < len(description) < 400
            if fits and not known and "---" not in description:
                seen.update((summary, description))
                yield summary, description


def _batches(pairs: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    order = np.random.default_rng(0).permutation(len(pairs))
    for start in range(0, len(pairs) - IN_A_BATCH + 1, IN_A_BATCH):
        yield [pairs[i] for i in order[start : start + IN_A_BATCH]]


def _inputs(tokens: Tokens, batch: list[tuple[str, str]]) -> dict[str, np.ndarray]:
    return tokens([question for question, _ in batch] + [answer for _, answer in batch])
