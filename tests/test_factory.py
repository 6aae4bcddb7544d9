"""Networks from the user's own code: what a factory may return, and whose lines an error shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from lissom.errors import ModelError
from lissom.model import open_model

torch = pytest.importorskip("torch")

NET = """
import torch
def build():
    net = torch.nn.Linear(4, 2)
    return net, torch.ones(3, 4)
"""


def written(folder: Path, text: str, name: str = "net.py") -> str:
    (folder / name).write_text(text)
    return f"{folder / name}:build"


def failure(spec: str) -> str:
    with pytest.raises(ModelError) as caught:
        open_model(spec).digest()
    return str(caught.value)


def test_a_factory_is_opened_and_named_after_its_file(tmp_path: Path) -> None:
    model = open_model(written(tmp_path, NET))
    assert (model.kind, model.name) == ("factory", "net")
    assert model.factory is not None
    network = model.factory()
    assert network is model.factory()  # built once
    assert {name: tuple(value.shape) for name, value in network.inputs.items()} == {"input": (3, 4)}


def test_random_weights_are_the_same_in_every_run(tmp_path: Path) -> None:
    spec = written(tmp_path, NET)
    torch.manual_seed(1)
    first = open_model(spec).digest()
    torch.manual_seed(2)
    assert open_model(spec).digest() == first


def test_the_digest_follows_code_weights_and_shapes(tmp_path: Path) -> None:
    digests = {open_model(written(tmp_path, NET)).digest()}
    digests.add(open_model(written(tmp_path, NET + "# another text")).digest())
    digests.add(open_model(written(tmp_path, NET.replace("ones(3, 4)", "ones(5, 4)"))).digest())
    module = torch.nn.Linear(4, 2)
    digests.add(open_model(module, example_inputs=torch.ones(3, 4)).digest())
    with torch.no_grad():
        module.weight[0, 0] += 1
    digests.add(open_model(module, example_inputs=torch.ones(3, 4)).digest())
    assert len(digests) == 5


def test_bfloat16_weights_have_a_digest() -> None:
    module = torch.nn.Linear(4, 2).bfloat16()
    assert len(open_model(module, example_inputs=torch.ones(3, 4)).digest()) == 64


def test_a_failing_factory_shows_the_users_own_lines(tmp_path: Path) -> None:
    text = "import torch\ndef build():\n    return torch.ones(2) @ torch.ones(3)\n"
    message = failure(written(tmp_path, text))
    assert "net.py:build failed: RuntimeError" in message
    assert "net.py:3 in build: return torch.ones(2) @ torch.ones(3)" in message
    assert "lissom/" not in message
    assert "importlib" not in message


def test_a_failing_file_shows_the_users_own_lines(tmp_path: Path) -> None:
    message = failure(written(tmp_path, "import torch\nx = 1 / 0\n"))
    assert "ZeroDivisionError" in message
    assert "net.py:2 in <module>: x = 1 / 0" in message
    assert "net.py:2: def build(:" in failure(written(tmp_path, "\ndef build(:\n"))
    assert "SystemExit" in failure(written(tmp_path, "raise SystemExit(3)"))
    assert "No module named 'missing_one'" in failure(written(tmp_path, "import missing_one"))


def test_a_file_may_import_the_file_beside_it(tmp_path: Path) -> None:
    written(tmp_path, "WIDTH = 4", "sizes_of_net.py")
    text = "from sizes_of_net import WIDTH\n" + NET.replace("Linear(4", "Linear(WIDTH")
    assert open_model(written(tmp_path, text)).digest()


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    spec = written(tmp_path, NET)
    assert "it defines: torch, build" in failure(spec.replace(":build", ":make"))
    assert "no such Python file" in failure(str(tmp_path / "gone.py") + ":build")
    assert "no Python module 'nowhere_at_all'" in failure("nowhere_at_all.net:build")


@pytest.mark.parametrize(
    ("returned", "word"),
    [
        ("None", "NoneType"),
        ("torch.nn.Linear(4, 2)", "without example inputs"),
        ("(3, torch.ones(2))", "not a torch.nn.Module"),
        ("(torch.nn.Linear(4, 2), 3)", "a tensor, a tuple or a dict"),
        ("(torch.nn.Linear(4, 2), ())", "no example inputs"),
        ("(torch.nn.Linear(4, 2), {'input': [1.0]})", "'input' is 'list', not a tensor"),
        ("(torch.nn.Linear(4, 2), torch.ones(2, 4), {'x': {0: 'batch'}})", "which is no input"),
        ("(torch.nn.Linear(4, 2), torch.ones(2, 4), {'input': [5]})", "no such dimensions"),
    ],
)
def test_what_a_factory_may_not_return(tmp_path: Path, returned: str, word: str) -> None:
    text = f"import torch\ndef build():\n    return {returned}\n"
    assert word in failure(written(tmp_path, text))


def test_a_module_needs_example_inputs() -> None:
    with pytest.raises(ModelError, match=r"example_inputs=torch\.randn"):
        open_model(torch.nn.Linear(4, 2))
