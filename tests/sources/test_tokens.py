from __future__ import annotations

import sys

import numpy as np
import pytest

from lissom.errors import MissingExtra, TaskError
from lissom.model import Model, TensorSpec
from lissom.sources.tokens import open_tokens


def specs(*names, dtype="int64", shape=("batch", "length")):
    return tuple(TensorSpec(name, dtype, shape) for name in names)


def longest(tokens):
    return tokens([" ".join(["a"] * 2000)])["input_ids"].shape[1]


def test_texts_are_padded_to_the_longest_of_the_batch_only(encoder):
    batch = open_tokens(encoder, None)(["a b c", "d"])
    np.testing.assert_array_equal(batch["input_ids"], [[2, 4, 5, 6, 3], [2, 7, 3, 0, 0]])
    np.testing.assert_array_equal(batch["attention_mask"], [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    np.testing.assert_array_equal(batch["token_type_ids"], np.zeros((2, 5)))
    assert {array.dtype.name for array in batch.values()} == {"int64"}


def test_exactly_the_models_inputs_in_its_dtype(encoder):
    batch = open_tokens(encoder, specs("input_ids", "attention_mask", dtype="int32"))(["a"])
    assert {name: array.dtype.name for name, array in batch.items()} == {
        "input_ids": "int32",
        "attention_mask": "int32",
    }


def test_a_fixed_length_is_filled_and_not_exceeded(encoder):
    tokens = open_tokens(encoder, specs("input_ids", shape=("batch", 6)))
    np.testing.assert_array_equal(
        tokens(["a b c d e a b", "b"])["input_ids"], [[2, 4, 5, 6, 7, 3], [2, 5, 3, 0, 0, 0]]
    )


@pytest.mark.parametrize(
    ("files", "length"),
    [
        ({}, 64),
        ({"tokenizer_config.json": {"model_max_length": 40}}, 40),
        ({"tokenizer_config.json": {"model_max_length": 1e30}}, 64),
        (
            {
                "sentence_bert_config.json": {"max_seq_length": 80},
                "tokenizer_config.json": {"model_max_length": 40},
            },
            80,
        ),
        ({"config.json": {"max_position_embeddings": 32, "model_type": "bert"}}, 32),
        (
            {
                "config.json": {
                    "max_position_embeddings": 34,
                    "model_type": "roberta",
                    "pad_token_id": 1,
                }
            },
            32,
        ),
    ],
)
def test_the_longest_text_is_what_the_folder_says(encoder, configure, files, length):
    for name, settings in files.items():
        configure(name, **settings)
    assert longest(open_tokens(encoder, None)) == length


def test_a_sentence_encoder_may_want_lower_case(encoder, configure):
    assert open_tokens(encoder, None)(["A"])["input_ids"][0, 1] == 9
    configure("sentence_bert_config.json", do_lower_case=True)
    assert open_tokens(encoder, None)(["A"])["input_ids"][0, 1] == 4


def test_the_padding_token_comes_from_the_settings_when_the_tokenizer_has_none(
    encoder, configure, tokenizer_json
):
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_json))
    tokenizer.no_padding()
    tokenizer.save(str(tokenizer_json))
    configure("tokenizer_config.json", pad_token={"content": "e"}, padding_side="left")
    np.testing.assert_array_equal(
        open_tokens(encoder, None)(["a b", "a"])["input_ids"], [[2, 4, 5, 3], [8, 2, 4, 3]]
    )


def test_a_tokenizer_that_was_given_goes_first(tmp_path, tokenizer_json):
    elsewhere = Model("onnx", "x.onnx", folder=tmp_path)
    for given in (tokenizer_json, tokenizer_json.parent):
        assert longest(open_tokens(elsewhere, None, given)) == 64
    with pytest.raises(TaskError, match="no tokenizer file") as error:
        open_tokens(elsewhere, None, tmp_path / "none")
    assert "--tokenizer" in error.value.fix


def test_a_folder_named_onnx_is_looked_at_from_above(tokenizer_json):
    inner = tokenizer_json.parent / "onnx"
    inner.mkdir()
    assert longest(open_tokens(Model("onnx", "m", folder=inner), None)) == 64


def test_a_missing_tokenizer_says_the_option(tmp_path):
    with pytest.raises(TaskError, match=r"no tokenizer\.json beside the model") as error:
        open_tokens(Model("onnx", "x.onnx", folder=tmp_path), None)
    assert "--tokenizer" in error.value.fix


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"[]", "does not describe a tokenizer"),
        (b'{"model": {"type": "None such"}}', "refuses the tokenizer"),
    ],
)
def test_a_damaged_tokenizer_is_refused(encoder, tokenizer_json, content, says):
    tokenizer_json.write_bytes(content)
    with pytest.raises(TaskError, match=says):
        open_tokens(encoder, None)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("pixels",), "has no input 'input_ids'"),
        (("input_ids", "position_ids"), "also takes 'position_ids'"),
    ],
)
def test_a_model_that_takes_other_inputs_is_refused(encoder, names, says):
    with pytest.raises(TaskError, match=says):
        open_tokens(encoder, specs(*names))


def test_without_the_package_the_extra_is_named(encoder, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtra) as error:
        open_tokens(encoder, None)
    assert "lissom[hf]" in error.value.fix
