"""A Hugging Face folder in, a folder out that transformers and a plain ONNX Runtime load."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import lissom
from lissom.artifact import companions, read_manifest
from lissom.measurement.feeds import example_feeds
from lissom.model import inputs_of, open_model
from tests import models
from tests.search.conftest import BRIEF

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "film"]


def classifier(folder: Path) -> Path:
    """A tiny BERT with its tokenizer, as `save_pretrained` writes them."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=40, id2label={0: "bad", 1: "good"},
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def test_the_result_loads_offline_with_its_config_and_tokenizer(
    tmp_path: Path, instant: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = classifier(tmp_path / "in")
    result = lissom.compress(folder, techniques=["quantize.dynamic"], settings=BRIEF)
    made = result.artifacts[-1].save(tmp_path / "made")
    # Not the 128 of other models: its table has 40 positions, and every file made of it knows.
    assert example_feeds(inputs_of(made / "model.onnx"), BRIEF)["input_ids"].shape == (1, 40)
    config = transformers.AutoConfig.from_pretrained(made)
    assert (config.model_type, config.id2label[1]) == ("bert", "good")
    tokenizer = transformers.AutoTokenizer.from_pretrained(made)
    tokens = tokenizer(["a good film", "bad"], padding=True, return_tensors="np")
    session = ort.InferenceSession(made / "model.onnx")
    # The name that optimum's ORTModelForSequenceClassification asks for.
    assert [output.name for output in session.get_outputs()] == ["logits"]
    feeds = {each.name: tokens[each.name].astype(np.int64) for each in session.get_inputs()}
    (logits,) = session.run(None, feeds)
    whole = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    truth = whole(**tokenizer(["a good film", "bad"], padding=True, return_tensors="pt")).logits
    np.testing.assert_allclose(logits, truth.detach().numpy(), atol=0.02)
    assert {"config.json", "tokenizer.json", "tokenizer_config.json", "model.onnx"} <= set(
        read_manifest(made).files
    )


def test_an_onnx_file_takes_along_what_lies_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    for name in ("vocab.txt", "tokenizer_config.json", "modules.json", "README.md"):
        (tmp_path / name).write_text("{}")
    models.saved(models.mlp(), tmp_path / "onnx" / "model.onnx")
    beside = models.saved(models.mlp(), tmp_path / "model.onnx")
    names = {"config.json", "vocab.txt", "tokenizer_config.json"}
    assert set(companions(open_model(tmp_path / "onnx" / "model.onnx"))) == names
    assert set(companions(open_model(beside))) == names
    beside.unlink()
    assert open_model(tmp_path).path == tmp_path / "onnx" / "model.onnx"


def test_a_list_of_modules_that_cannot_be_read_does_not_end_a_run(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("<html>")
    (tmp_path / "tokenizer.json").write_text("{}")
    path = models.saved(models.mlp(), tmp_path / "m.onnx")
    assert set(companions(open_model(path))) == {"tokenizer.json"}


def test_a_config_of_something_else_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"port": 80}))
    read = {"tokenizer.json", "preprocessor_config.json"}  # what a task is made with
    for name in read:
        (tmp_path / name).write_text("{}")
    path = models.saved(models.mlp(), tmp_path / "m.onnx")
    assert set(companions(open_model(path))) == read
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {}}))
    assert set(companions(open_model(path))) == {"config.json", *read}
