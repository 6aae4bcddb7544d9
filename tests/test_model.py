"""Opening a model: what is taken, what is refused and with which remedy, and what digests mean."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lissom.errors import ModelError
from lissom.model import open_model, read_onnx, write_onnx


def refused(spec: object, *words: str) -> None:
    with pytest.raises(ModelError) as caught:
        open_model(spec)  # type: ignore[arg-type]
    for word in words:
        assert word in str(caught.value)


def test_opening_does_not_import_torch() -> None:
    code = "import sys, lissom.model; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_onnx_file(mlp_onnx: Path) -> None:
    model = open_model(str(mlp_onnx))
    assert (model.kind, model.path, model.folder) == ("onnx", mlp_onnx, mlp_onnx.parent)
    assert model.name == "mlp"


def test_a_folder_with_one_onnx_file_is_that_file(mlp_onnx: Path) -> None:
    assert open_model(mlp_onnx.parent).path == mlp_onnx
    (mlp_onnx.parent / "config.json").write_text('{"model_type": "bert"}')
    assert open_model(mlp_onnx.parent).path == mlp_onnx
    (mlp_onnx.parent / "second.onnx").write_bytes(mlp_onnx.read_bytes())
    refused(mlp_onnx.parent.joinpath("."), "2 .onnx files", "mlp.onnx, second.onnx")


def test_a_file_called_model_is_named_after_its_folder(mlp_onnx: Path, tmp_path: Path) -> None:
    named = tmp_path / "my_ranker" / "onnx" / "model.onnx"
    named.parent.mkdir(parents=True)
    named.write_bytes(mlp_onnx.read_bytes())
    assert open_model(named).name == "my_ranker"
    plain = tmp_path / "w" / "model.onnx"
    plain.parent.mkdir()
    plain.write_bytes(mlp_onnx.read_bytes())
    assert open_model(plain).name == "model", "any folder may hold it"
    assert open_model(plain.parent).name == "w", "the folder was named"
    (plain.parent / "config.json").write_text("{}")
    assert open_model(plain).name == "w"


def test_the_digest_is_of_contents_not_of_places(mlp_onnx: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "other.onnx"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(mlp_onnx.read_bytes())
    assert open_model(elsewhere).digest() == open_model(mlp_onnx).digest()
    write_onnx(read_onnx(mlp_onnx), elsewhere, inline_limit=0)
    first = open_model(elsewhere).digest()
    data = elsewhere.parent / "other.onnx.data"
    data.write_bytes(bytes([data.read_bytes()[0] ^ 1]) + data.read_bytes()[1:])
    assert open_model(elsewhere).digest() != first


def test_a_damaged_onnx_file_is_refused_when_opened(mlp_onnx: Path) -> None:
    mlp_onnx.write_bytes(mlp_onnx.read_bytes()[:-50])
    refused(mlp_onnx, "not an ONNX model", str(mlp_onnx))


def test_what_is_not_there(tmp_path: Path) -> None:
    refused(str(tmp_path / "gone.onnx"), "no such model", "gone.onnx")
    refused("intfloat/e5-small", "hf download intfloat/e5-small --local-dir e5-small")
    refused(str(tmp_path / "gone.pth"), "never loads", "my_model.py:build")
    refused(17, "not 'int'")


@pytest.mark.parametrize("name", ["weights.pth", "model.pt", "pytorch_model.bin", "m.pkl"])
def test_pickles_are_never_loaded(tmp_path: Path, name: str) -> None:
    trap = tmp_path / "sprung"
    # A pickle that would make the file above, were it loaded.
    program = f"import pathlib; pathlib.Path({str(trap)!r}).touch()"
    (tmp_path / name).write_bytes(b"cbuiltins\nexec\n(V" + program.encode() + b"\ntR.")
    refused(tmp_path / name, "never loads", "def build():", "weights_only=True")
    assert not trap.exists()


def test_weights_alone_are_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    refused(tmp_path / "model.safetensors", "without an architecture", "def build():")
    refused(tmp_path, "not a model", "it has neither", "model.safetensors")


def test_python_code_without_a_factory(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("def build(): ...")
    refused(tmp_path / "net.py", "which function", "net.py:name_of_function")


def huggingface(folder: Path, **config: object) -> Path:
    folder.mkdir(exist_ok=True)
    settings = {"model_type": "bert", "architectures": ["BertModel"], **config}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def test_huggingface_folders_that_cannot_be_exported(tmp_path: Path) -> None:
    folder = huggingface(tmp_path / "hf")
    refused(folder, "no weights (*.safetensors)")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    refused(folder, "pytorch_model.bin, a pickle", "save_pretrained")
    (folder / "model.safetensors").write_bytes(b"weights")
    model = open_model(folder)
    assert (model.kind, model.folder, model.path) == ("huggingface", folder, None)
    huggingface(folder, quantization_config={"bits": 4})
    refused(folder, "quantized already")
    huggingface(folder)
    (folder / "adapter_config.json").write_text("{}")
    refused(folder, "adapter")
    (folder / "config.json").write_text("{ not json")
    refused(folder, "cannot be read as JSON")
    (folder / "config.json").write_text("{}")
    refused(folder, "no model_type")


def test_an_archive_is_told_by_its_name_before_it_is_taken_for_a_pickle(tmp_path: Path) -> None:
    for name, words in {
        "net.keras": "a TensorFlow or Keras model",
        "net.zip": "an archive",
        "net.pt": "looks like a pickle",
        "net.onnx": "looks like a pickle",
    }.items():
        (tmp_path / name).write_bytes(b"PK\x03\x04rest")
        refused(tmp_path / name, words)
    for name in ("data.npz", "net.onnx"):
        with (tmp_path / name).open("wb") as file:
            np.savez(file, x=np.zeros(3))
        refused(tmp_path / name, "is a NumPy archive (.npz): data, not a model")


def test_the_huggingface_digest_leaves_the_tokenizer_out(tmp_path: Path) -> None:
    folder = huggingface(tmp_path / "hf")
    (folder / "model.safetensors").write_bytes(b"weights")
    first = open_model(folder).digest()
    (folder / "tokenizer.json").write_text("{}")
    assert open_model(folder).digest() == first
    (folder / "model.safetensors").write_bytes(b"Weights")
    second = open_model(folder).digest()
    huggingface(folder, layers=2)
    assert len({first, second, open_model(folder).digest()}) == 3


@pytest.mark.parametrize(
    "modules", ['["x"]', "5", '{"a": 1}', '[{"type": "m.Transformer", "path": "\\u0000"}]']
)
def test_a_list_of_modules_that_is_none_is_passed_over(tmp_path: Path, modules: str) -> None:
    folder = huggingface(tmp_path / "hf")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "modules.json").write_text(modules)
    assert len(open_model(folder).digest()) == 64
