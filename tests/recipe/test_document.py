"""Recipe files: what is read, what is refused and where, and the schema for editors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lissom.errors import RequestError
from lissom.recipe.document import json_schema, open_recipe, parse, shipped

INT8 = "steps:\n  - technique: graph.optimize\n  - technique: quantize.static\n"


def test_shipped_recipes_open_by_name_and_all_their_steps_are_valid() -> None:
    assert set(shipped()) == {"int8", "distill", "prune-distill-quantize"}
    assert open_recipe("int8").steps[-1].technique == "quantize.static"


def test_a_file_without_a_name_is_called_after_itself(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(INT8)
    assert open_recipe(str(path)).name == "mine"
    assert parse(open_recipe(str(path)).to_yaml(), "again").steps == open_recipe(str(path)).steps


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("steps: [", "not valid YAML", "line 1"),
        ("- a\n- b\n", "not a mapping", ""),
        ("stepz:\n  - technique: graph.optimize\n", "unknown key of a recipe 'stepz'", ""),
        ("steps: []\n", "has no steps", ""),
        ("steps: 3\n", "wrong at steps", ""),
        ("steps:\n  - technique: quantize.statik\n", "unknown technique", "step 1"),
        ("steps:\n  - technique: quantize.static\n    config: {observr: minmax}\n",
         "unknown setting of quantize.static 'observr'", "step 1"),
        ("steps:\n  - technique: quantize.static\n    config: {percent: high}\n",
         "percent is wrong", "step 1"),
        ("steps:\n  - technique: prune.structured\n    config: {macs: 1.5}\n",
         r"lies in \[0, 1\)", "step 1"),
        ("a: &x [1]\nsteps: *x\n", "aliases are not allowed", "line 2"),
        ("steps: " + "[" * 40 + "]" * 40, "nested too deeply", ""),
        ("steps: !!python/object/apply:os.system [echo]\n", "not valid YAML", ""),
        ("name: !!int abc\n", "tags are not allowed", "line 1"),
        ("name: !!bool x\n", "tags are not allowed", ""),
        ("name: 0x_\n", "not valid YAML", ""),
        (f"name: {'9' * 5000}\n", "not valid YAML", ""),
        ('name: "\\ud800"\n', "half a character", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_where(text: str, what: str, where: str) -> None:
    with pytest.raises(RequestError, match=what) as caught:
        parse(text, "recipe.yaml")
    assert where in f"{caught.value.where}"
    assert caught.value.fix


def test_a_bomb_of_aliases_is_refused_before_it_goes_off() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    with pytest.raises(RequestError, match="aliases"):
        parse("\n".join(lines), "bomb.yaml")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"#" * 300_000)
    with pytest.raises(RequestError, match="300,000 bytes"):
        open_recipe(str(path))


@pytest.mark.parametrize(
    ("spec", "what"), [("int9", "unknown recipe"), ("no.yaml", "cannot be read")]
)
def test_recipes_that_are_not_there(spec: str, what: str) -> None:
    with pytest.raises(RequestError, match=what) as caught:
        open_recipe(spec)
    assert "int8" in (caught.value.fix or "")


def test_the_schema_is_json_and_describes_every_technique() -> None:
    schema = json.loads(json.dumps(json_schema()))
    steps = schema["properties"]["steps"]["items"]["oneOf"]
    by_name = {step["properties"]["technique"]["const"]: step for step in steps}
    assert "prune.structured" in by_name and "quantize.static" in by_name
    assert "observer" in by_name["quantize.static"]["properties"]["config"]["properties"]
    for each in by_name.values():
        for reference in _references(each):
            assert reference.removeprefix("#/$defs/") in schema["$defs"]


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [r for value in node.values() for r in _references(value)]
    if isinstance(node, list):
        return [r for value in node for r in _references(value)]
    return []


def test_a_name_that_looks_like_a_date_is_a_name() -> None:
    assert parse("name: 2001-13-45\nsteps: [{technique: graph.optimize}]", "x").name == "2001-13-45"


def test_a_folder_called_like_a_shipped_recipe_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "int8").mkdir()  # the output of `lissom run int8 -o int8`
    assert open_recipe("int8").name == "int8"


def test_a_shipped_recipe_opens_before_anything_else_was_imported() -> None:
    code = "import lissom; print(len(lissom.open_recipe('prune-distill-quantize').steps))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "4\n", done.stderr
