"""Recognise files of other formats by their first bytes or name, and say what to do with them."""

from __future__ import annotations

from pathlib import Path

from lissom.errors import ModelError

FACTORY_SAMPLE = """write a file my_model.py and pass `my_model.py:build` instead:
    import torch
    def build():
        model = MyNetwork()
        model.load_state_dict(torch.load("weights.pth", weights_only=True))
        return model.eval(), torch.randn(2, 3, 224, 224)  # the module and example inputs"""


def recognise_foreign(path: Path, head: bytes) -> None:
    """Refuse a file whose first bytes or name belong to another format, saying what to do.

    Raises:
        ModelError: the format is a known one that lissom does not open.
    """
    suffix = path.suffix.lower()
    if head.startswith(b"version https://git-lfs"):
        raise ModelError(
            f"{path.name} is a Git LFS pointer, not the model itself",
            where=str(path),
            fix="run `git lfs pull` in its repository",
        )
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise ModelError(
            f"{path.name} is a web page, not a model: the download ended on an error or a login",
            where=str(path),
            fix="download it again, from the address of the file itself",
        )
    if head.startswith(b"\x89LSM"):
        raise ModelError(
            f"{path.name} is an archive that `lissom pack` wrote",
            where=str(path),
            fix=f"unpack it first: lissom unpack {path}; lissom.load runs it as it is",
        )
    if suffix == ".tflite" or head[4:8] == b"TFL3":
        raise _convert(path, "a LiteRT (TensorFlow Lite) model", "tf2onnx with --tflite")
    if suffix in (".h5", ".keras", ".pb") or head.startswith(b"\x89HDF"):
        raise _convert(path, "a TensorFlow or Keras model", "tf2onnx, or Keras's model.export")
    if suffix == ".zip":
        raise ModelError(
            f"{path.name} is an archive", where=str(path), fix="unpack it, and pass the file in it"
        )
    if suffix == ".npz" or (head.startswith(b"PK\x03\x04") and b".npy" in head):
        raise ModelError(
            f"{path.name} is a NumPy archive (.npz): data, not a model",
            where=str(path),
            fix="pass the .onnx file as the model, and this one as --task arrays:FILE.npz",
        )
    pickled = head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    checkpoint = suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib")
    if pickled or head.startswith(b"PK\x03\x04") or checkpoint:
        raise ModelError(
            f"{path.name} looks like a pickle (a PyTorch checkpoint, for example), and lissom "
            "never loads one: a pickle can run any code, and it holds no architecture",
            where=str(path),
            fix=FACTORY_SAMPLE,
        )
    if suffix == ".safetensors":
        raise ModelError(
            f"{path.name} holds weights without an architecture",
            where=str(path),
            fix="pass the Hugging Face folder it belongs to, or "
            + FACTORY_SAMPLE.replace(
                'torch.load("weights.pth", weights_only=True)',
                'safetensors.torch.load_file("weights.safetensors")',
            ).replace("import torch\n", "import safetensors.torch, torch\n"),
        )


def _convert(path: Path, kind: str, tool: str) -> ModelError:
    return ModelError(
        f"{path.name} is {kind}, which lissom does not open",
        where=str(path),
        fix=f"convert it to ONNX first, for example with {tool}",
    )
