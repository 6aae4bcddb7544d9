"""The snippet really runs in the folder it is copied into."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lissom.model import open_model
from lissom.search.snippet import has_tokenizer, snippet_for
from tests import models


def run(snippet: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, f"{snippet}\n{done.stderr}"
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("name", "shape"), [("depthwise", "(4, 10)"), ("two_input", "(4, 3)"), ("encoder", "(4, 32)")]
)
def test_it_runs_with_the_shapes_that_were_timed(tmp_path: Path, name: str, shape: str) -> None:
    proto = getattr(models, name)()
    path = models.saved(proto, tmp_path / "model.onnx")
    snippet = snippet_for(models.feeds(proto, 4), open_model(path))
    assert run(snippet, tmp_path) == f"[{shape}]"


def test_masks_hide_nothing_and_the_file_has_its_own_name(tmp_path: Path) -> None:
    path = models.saved(models.encoder(), tmp_path / "it's.onnx")
    snippet = snippet_for(models.feeds(models.encoder(), 1), open_model(path), path.name)
    assert "'attention_mask': np.ones((1, 7), 'int64')," in snippet
    assert run(snippet, tmp_path) == "[(1, 32)]"


def tokenizer(folder: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "The", "first", "one"])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_with_a_tokenizer_it_embeds_sentences_in_the_models_own_type(
    tmp_path: Path, dtype: str
) -> None:
    proto = models.encoder()
    if dtype == "int32":
        proto = narrowed(proto)
    path = models.saved(proto, tmp_path / "model.onnx")
    tokenizer(tmp_path)
    assert has_tokenizer(open_model(path))
    feeds = {name: np.ones((1, 5), dtype) for name in ("input_ids", "attention_mask")}
    assert run(snippet_for(feeds, open_model(path)), tmp_path) == "(2, 32)"


def test_a_tokenizer_that_cannot_feed_the_model_is_left_aside(tmp_path: Path) -> None:
    """A classifier of numbers may lie beside the tokenizer of another model."""
    path = models.saved(models.two_input(), tmp_path / "model.onnx")
    tokenizer(tmp_path)
    snippet = snippet_for(models.feeds(models.two_input(), 2), open_model(path))
    assert "Tokenizer" not in snippet
    assert run(snippet, tmp_path) == "[(2, 3)]"


def narrowed(proto: models.onnx.ModelProto) -> models.onnx.ModelProto:
    """The encoder with int32 inputs."""
    for value in proto.graph.input:
        value.type.tensor_type.elem_type = models.TensorProto.INT32
    return proto
