"""Hugging Face folders: the right head, pooling in the graph, nothing loaded that should not be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from lissom.errors import ModelError
from lissom.model import open_model
from lissom.nn.export import export
from lissom.nn.huggingface import load_huggingface
from tests.nn.conftest import SMALL, Exported, sentence_encoder

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def saved(folder: Path, model: Any) -> Path:
    model.save_pretrained(folder)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_huggingface(folder)
    return str(caught.value)


def test_a_sentence_encoder_gives_the_normalized_pooled_embedding(encoder: Exported) -> None:
    assert [str(spec) for spec in encoder.result.inputs] == [
        f"{name}: int64 [batch, sequence]"
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    assert [str(spec) for spec in encoder.result.outputs] == [
        "sentence_embedding: float32 [batch, 32]"
    ]
    ids = np.random.default_rng(0).integers(0, 50, (3, 11))
    mask = np.ones_like(ids)
    mask[0, 5:] = 0
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    (got,) = ort.InferenceSession(encoder.result.path).run(None, feeds)
    with torch.no_grad():
        tokens = encoder.module(**{k: torch.tensor(v) for k, v in feeds.items()})[0].numpy()
    rows = [row[valid == 1] for row, valid in zip(tokens, mask, strict=True)]
    expected = np.array([np.concatenate([row.max(axis=0), row.mean(axis=0)]) for row in rows])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_classifier_gives_logits(tmp_path: Path) -> None:
    config = transformers.DistilBertConfig(
        vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=24, max_position_embeddings=40
    )
    folder = saved(tmp_path, transformers.DistilBertForSequenceClassification(config))
    result = export(open_model(folder), tmp_path / "out")
    assert [spec.name for spec in result.inputs] == ["input_ids", "attention_mask"]
    assert [str(spec) for spec in result.outputs] == ["logits: float32 [batch, 2]"]
    assert result.relative < 1e-5


@pytest.mark.parametrize(
    ("build", "inputs", "outputs"),
    [
        (
            lambda: transformers.BertForQuestionAnswering(transformers.BertConfig(**SMALL)),
            {"input_ids": (2, 7), "attention_mask": (2, 7), "token_type_ids": (2, 7)},
            {"start_logits": (2, 7), "end_logits": (2, 7)},
        ),
        (
            lambda: transformers.RobertaForMaskedLM(
                transformers.RobertaConfig(**SMALL, type_vocab_size=1)
            ),
            {"input_ids": (2, 7), "attention_mask": (2, 7)},
            {"logits": (2, 7, 50)},
        ),
        (
            lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL)),
            {"input_ids": (2, 7), "attention_mask": (2, 7)},
            {"logits": (2, 7, 50)},
        ),
        (
            lambda: transformers.BertForTokenClassification(
                transformers.BertConfig(**SMALL, num_labels=5)
            ),
            {"input_ids": (2, 7), "attention_mask": (2, 7), "token_type_ids": (2, 7)},
            {"logits": (2, 7, 5)},
        ),
        (
            lambda: transformers.ViTForImageClassification(
                transformers.ViTConfig(
                    hidden_size=16,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                    intermediate_size=24,
                    image_size=32,
                    patch_size=8,
                )
            ),
            {"pixel_values": (2, 3, 32, 32)},
            {"logits": (2, 2)},
        ),
    ],
)
def test_heads_follow_the_config(
    tmp_path: Path, build: Any, inputs: dict[str, Any], outputs: dict[str, Any]
) -> None:
    network = load_huggingface(saved(tmp_path, build()))
    assert {name: tuple(value.shape) for name, value in network.inputs.items()} == inputs
    with torch.no_grad():
        got = network.module(**network.inputs)
    assert {name: tuple(value.shape) for name, value in got.items()} == outputs


def test_an_architecture_without_export(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]})
    )
    message = refusal(tmp_path)
    assert "'T5ForConditionalGeneration'" in message
    assert "...ForSequenceClassification" in message


def test_a_head_that_was_never_trained_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, transformers.BertModel(transformers.BertConfig(**SMALL)))
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"] = ["BertForSequenceClassification"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    message = refusal(tmp_path)
    assert "'classifier.bias'" in message
    assert "random numbers" in message


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, transformers.BertModel(transformers.BertConfig(**SMALL)))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "damaged or cut short" in refusal(tmp_path)


def test_poolings_and_modules_that_are_not_known(tmp_path: Path) -> None:
    sentence_encoder(tmp_path, {"pooling_mode_weightedmean_tokens": True})
    assert "pooling ['weightedmean_tokens']" in refusal(tmp_path)
    modules = json.loads((tmp_path / "modules.json").read_text())
    modules[1]["type"] = "sentence_transformers.models.LSTM"
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    assert "type 'LSTM'" in refusal(tmp_path)


@pytest.mark.parametrize(
    "content", ['{"a": 1}', "3", '["Pooling"]', '[null, {"type": "a.Pooling", "path": "../../.."}]']
)
def test_a_list_of_modules_that_is_none(tmp_path: Path, content: str) -> None:
    sentence_encoder(tmp_path, {"pooling_mode_cls_token": True})
    (tmp_path / "modules.json").write_text(content)
    assert "modules.json is no list of modules" in refusal(tmp_path)


def test_a_dense_layer_after_the_pooling(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = sentence_encoder(tmp_path, {"pooling_mode_cls_token": True})
    modules = json.loads((tmp_path / "modules.json").read_text())
    modules[2] = {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    weight, bias = torch.randn(5, 16), torch.randn(5)
    (tmp_path / "2_Dense").mkdir()
    config = {
        "in_features": 16,
        "out_features": 5,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    (tmp_path / "2_Dense" / "config.json").write_text(json.dumps(config))
    save_file(
        {"linear.weight": weight, "linear.bias": bias}, tmp_path / "2_Dense" / "model.safetensors"
    )
    network = load_huggingface(tmp_path)
    with torch.no_grad():
        got = network.module(**network.inputs)["sentence_embedding"]
        cls = model(**network.inputs)[0][:, 0]
    torch.testing.assert_close(got, torch.tanh(cls @ weight.T + bias))
