"""The promise of the core: an .onnx file is compressed where no torch is.

The environment here holds exactly what the core dependencies of pyproject.toml bring, link by
link from the one the tests run in. So a package that is used and not declared fails here too.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lissom
from tests import models

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
ABSENT = ["torch", "onnxscript", "transformers", "tokenizers", "sklearn", "pytest"]

COMPRESS_IN_PYTHON = """
import sys
import numpy as np
import lissom

model, folder = sys.argv[1:]
inputs = {"input": np.random.default_rng(1).normal(size=(256, 16)).astype(np.float32)}
task = lissom.Task(calibration=inputs, validation=inputs)
settings = lissom.Settings(seconds=0.2, processes=1)
result = lissom.compress(model, task, settings=settings, techniques=("quantize.static",))
result.best.save(folder)
"""


@pytest.fixture(scope="module")
def light_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with lissom's core dependencies and nothing else."""
    folder = tmp_path_factory.mktemp("light")
    venv.create(folder, symlinks=True, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in core_packages():
        link(importlib.metadata.distribution(name), site)
    (site / "lissom.pth").write_text(str(Path(lissom.__file__).parents[1]))
    return folder / "bin" / "python"


def core_packages() -> set[str]:
    """The core dependencies and all that they need, as installed here."""
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    waiting, found = [Requirement(line) for line in declared], set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        found.add(name)
        needed = map(Requirement, importlib.metadata.requires(name) or [])
        waiting += [each for each in needed if not each.marker or each.marker.evaluate()]
    return found


def link(distribution: importlib.metadata.Distribution, site: Path) -> None:
    """Link what a distribution has in site-packages into another site-packages."""
    tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
    for top in tops:
        if not (site / top).exists():
            (site / top).symlink_to(distribution.locate_file(top))


def run(python: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [python, *arguments], capture_output=True, text=True, env=environment, timeout=300
    )


def answers(path: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def test_the_environment_has_the_core_and_none_of_the_extras(light_python: Path) -> None:
    have = "import importlib.util as u, sys; print([n for n in sys.argv[1:] if u.find_spec(n)])"
    done = run(light_python, "-c", have, "onnxruntime", "lissom", *ABSENT)
    assert done.stdout.strip() == "['onnxruntime', 'lissom']", done.stderr


def test_the_command_line_compresses(light_python: Path, tmp_path: Path) -> None:
    model = models.saved(models.mlp(hidden=512), tmp_path / "model.onnx")
    out = tmp_path / "out"
    command = "import sys; from lissom.cli.app import main; sys.exit(main())"
    done = run(
        light_python, "-c", command,
        "compress", model, "-o", out, "--json", "--objective", "size", "--seconds", "0.2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert any(row["chosen"] for row in results["rows"])
    small = out / "model.onnx"
    assert small.stat().st_size < model.stat().st_size / 2
    assert_alike(model, small)


def test_python_compresses_with_calibration_data(light_python: Path, tmp_path: Path) -> None:
    model = models.saved(models.mlp(hidden=512), tmp_path / "model.onnx")
    out = tmp_path / "out"
    done = run(light_python, "-c", COMPRESS_IN_PYTHON, model, out)
    assert done.returncode == 0, done.stderr
    assert (out / "model.onnx").stat().st_size < model.stat().st_size / 2
    assert_alike(model, out / "model.onnx")


PACK_AND_LOAD = """
import sys
import numpy as np
import lissom

model, folder = sys.argv[1:]
archive = lissom.pack(model, folder + "/model.lsm").path
lissom.unpack(archive, folder + "/again.onnx")
print(len(lissom.load(archive).run(None, {"input": np.zeros((1, 16), np.float32)})))
with lissom.safe_open(archive, framework="np") as weights:
    weights.get_tensor(weights.keys()[0])
"""


def test_an_archive_is_packed_unpacked_and_loaded(light_python: Path, tmp_path: Path) -> None:
    model = models.saved(models.mlp(hidden=512), tmp_path / "model.onnx")
    done = run(light_python, "-c", PACK_AND_LOAD, model, tmp_path)
    assert done.stdout.strip() == "1", done.stderr
    assert (tmp_path / "again.onnx").read_bytes() == model.read_bytes()


def test_a_hugging_face_folder_is_refused_with_the_extra_to_install(
    light_python: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["BertModel"], "model_type": "bert"}')
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    command = "import sys; from lissom.cli.app import main; sys.exit(main())"
    done = run(light_python, "-c", command, "compress", folder, "-o", tmp_path / "out")
    assert done.returncode == 2, done.stderr
    assert "pip install 'lissom[hf]'" in done.stderr
    assert "Traceback" not in done.stderr


def assert_alike(original: Path, compressed: Path) -> None:
    """Both files answer nearly the same: relative error under a tenth."""
    feeds = models.feeds(models.mlp(), 64)
    expected, got = answers(original, feeds), answers(compressed, feeds)
    assert np.linalg.norm(got - expected) < 0.1 * np.linalg.norm(expected)
