"""`lissom.sensitivity` against layers that are really quantized alone, and against planted ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

import lissom
from lissom.diagnosis import cut
from lissom.errors import ModelError, RequestError, TaskError
from lissom.onnx_file import read_onnx, write_onnx
from lissom.recipe.prepare import prepare
from lissom.recipe.run import run
from lissom.recipe.schema import Recipe, Step
from lissom.recipe.store import Store
from lissom.search import sensitivity as module
from lissom.search.formats import OPTIMIZED, recipe_of
from lissom.search.layer_errors import chosen_pairs
from lissom.search.sensitivity import sensitivity
from lissom.tables import Format, Sensitivity
from lissom.targets.named import find_target
from lissom.task import Task
from lissom.technique import Context, silent
from tests import models
from tests.diagnosis.networks import images, residual, sentences, transformer
from tests.models import Array, node

FORMATS: dict[str, tuple[Format, ...]] = {
    "residual": ("w8a8", "w5a8", "w4a8", "float16"),
    "transformer": ("w8a8", "w8a8 dynamic", "w8", "w4"),
}
HEAVY = ("Conv", "Gemm", "MatMul")
Found = dict[str, tuple[Path, Task, dict[Format, Sensitivity]]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder = tmp_path_factory.mktemp("sensitivity")
    data = {"residual": images(4), "transformer": sentences(4)}
    made = {}
    for network in (residual(), transformer()):
        name = network.graph.name
        path = models.saved(network, folder / f"{name}.onnx")
        task = Task(calibration=data[name])
        # One format at a time leaves room for all samples.
        tables = {form: sensitivity(path, task, formats=[form]) for form in FORMATS[name]}
        assert {table.samples for table in tables.values()} == {32}
        made[name] = path, task, tables
    return made


def outputs(path: Path, batches: Iterable[dict[str, Array]]) -> Array:
    """In batches of four: ranges that are found while running are those of a batch."""
    session = ort.InferenceSession(path)
    fours = [
        {name: array[at : at + 4] for name, array in batch.items()}
        for batch in batches
        for at in (0, 4)
    ]
    return np.concatenate([np.asarray(session.run(None, four)[0], float) for four in fours])


def really_alone(
    path: Path,
    task: Task,
    form: Format,
    groups: Sequence[Sequence[str]],
    others: Sequence[str],
    folder: Path,
) -> list[float]:
    """The outputs' relative error of files with a few layers quantized, made and run as any."""
    store = Store(folder)
    calibration = task.calibration
    assert calibration is not None
    context = Context(calibration=calibration)
    base = run(OPTIMIZED, prepare(lissom.open_model(path), store, silent).built, context, store)
    truth = outputs(base.path, calibration)
    (step,) = recipe_of(form).steps
    errors = []
    for group in groups:
        kept = {"keep_float": [name for name in others if name not in group]}
        alone = Recipe(
            name="alone", steps=(Step(technique=step.technique, config=step.config | kept),)
        )
        off = outputs(run(alone, base, context, store).path, calibration) - truth
        errors.append(float(np.square(off).sum() / np.square(truth).sum()))
    return errors


@pytest.mark.parametrize(
    ("network", "form"),
    [
        ("residual", "w8a8"), ("residual", "w5a8"), ("residual", "w4a8"),
        ("transformer", "w8a8"), ("transformer", "w8a8 dynamic"), ("transformer", "w4"),
    ],
)  # fmt: skip
def test_errors_are_those_of_a_file_with_one_layer_quantized(
    found: Found, tmp_path: Path, network: str, form: Format
) -> None:
    path, task, tables = found[network]
    layers = tables[form].layers
    names = [layer.name for layer in layers]
    looked = names[1::3]
    ours = [layer.errors[form] for layer in layers if layer.name in looked]
    assert ours == pytest.approx(
        really_alone(path, task, form, [[name] for name in looked], names, tmp_path), rel=0.2
    )


@pytest.mark.parametrize(("network", "form"), [("residual", "w4a8"), ("transformer", "w4")])
def test_pairs_are_those_of_a_file_with_two_layers_quantized(
    found: Found, tmp_path: Path, network: str, form: Format
) -> None:
    path, task, tables = found[network]
    pairs = tables[form].pairs
    names = [layer.name for layer in tables[form].layers]
    measured = [pair.measured for pair in pairs]
    both = [(pair.one, pair.other) for pair in pairs]
    assert measured == pytest.approx(
        really_alone(path, task, form, both, names, tmp_path), rel=0.05
    )


@pytest.mark.parametrize("network", FORMATS)
def test_the_sum_of_the_layers_predicts_the_whole_network(found: Found, network: str) -> None:
    for form, table in found[network][2].items():
        total = sum(layer.errors[form] for layer in table.layers)
        assert total == pytest.approx(table.whole[form], rel=0.3), form
        assert len(table.pairs) == 2
        for pair in table.pairs:
            assert pair.predicted == pytest.approx(pair.measured, rel=0.3), pair


def test_the_whole_is_what_the_file_gives(found: Found, tmp_path: Path) -> None:
    path, task, tables = found["residual"]
    context, store = Context(calibration=task.calibration), Store(tmp_path)
    base = run(OPTIMIZED, prepare(lissom.open_model(path), store, silent).built, context, store)
    file = run(recipe_of("w4a8"), base, context, store)
    assert task.calibration is not None
    truth, given = (outputs(each.path, task.calibration) for each in (base, file))
    error = np.square(given - truth).sum() / np.square(truth).sum()
    assert tables["w4a8"].whole["w4a8"] == pytest.approx(error, rel=1e-3)


def test_layers_stand_in_order_with_what_applies_to_them(found: Found) -> None:
    residuals, transformers = (found[name][2] for name in FORMATS)
    layers = {layer.name: layer for layer in residuals["w8a8"].layers}
    assert [name.split(".")[0] for name in layers][:3] == ["one", "one", "two"]
    assert layers["down.sum/Conv"].weights == 32 * 16 * 9
    # Depthwise filters are too few to be stored as float16.
    halves = {layer.name for layer in residuals["float16"].layers}
    assert set(layers) - halves == {"three.depth.sum/Conv", "four.depth.sum/Conv"}
    tables = [form for form, each in transformers.items() if each.layers[0].op_type == "Gather"]
    assert tables == ["w8a8 dynamic", "w8", "w4"]


def chain(*, outlier: bool = False, scaled: bool = False) -> onnx.ModelProto:
    """Four products with ReLUs: an outlier channel in the third, or numbers that grow a hundred
    times behind the second and shrink again."""
    weights = models.Weights(3)
    nodes, at = [], "x"
    for number in range(4):
        name = f"layer{number}"
        drawn = np.asarray(weights.rng.normal(0, 0.25, (32, 32)), np.float32)
        if outlier and number == 2:
            drawn[5, 7] = 20.0
        nodes.append(node("MatMul", [at, weights.keep(f"{name}.weight", drawn)], name))
        at = f"{name}.active"
        nodes.append(node("Relu", [name], at))
        if scaled and number in (1, 2):
            factor = weights.keep(f"{name}.factor", 100.0 if number == 1 else 0.01)
            nodes.append(node("Mul", [at, factor], f"{name}.scaled"))
            at = f"{name}.scaled"
    nodes.append(node("MatMul", [at, weights.keep("head.weight", np.eye(32)[:, :5])], "y"))
    inputs = [models.value("x", onnx.TensorProto.FLOAT, "batch", 32)]
    output = models.value("y", onnx.TensorProto.FLOAT, "batch", 5)
    return models.build("chain", nodes, inputs, output, weights, 17)


def errors_of(network: onnx.ModelProto, form: Format, folder: Path) -> dict[str, float]:
    path = models.saved(network, folder / "chain.onnx")
    data = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    table = sensitivity(path, Task(calibration={"x": data}), formats=[form])
    return {layer.name: layer.errors[form] for layer in table.layers}


def test_a_planted_outlier_is_found_and_a_planted_scale_is_nothing(tmp_path: Path) -> None:
    plain = errors_of(chain(), "w4a8", tmp_path)
    scaled = errors_of(chain(scaled=True), "w4a8", tmp_path)
    assert scaled == pytest.approx(plain, rel=0.1)
    planted = errors_of(chain(outlier=True), "w8a8 dynamic", tmp_path)
    assert max(planted, key=lambda name: planted[name]) == "layer3/MatMul"


class Counted:
    """How often each part is run, in samples times its share of the network's products."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, products: int) -> None:
        self.runs = 0.0
        opened, called = cut.Session.__init__, cut.Session.__call__

        def open_(session: Any, part: Any, *rest: Any, **named: Any) -> None:
            opened(session, part, *rest, **named)
            session.share = sum(each.op_type in HEAVY for each in part.nodes) / products

        def call(session: Any, feeds: Any) -> Any:
            rows = max((len(a) for a in feeds.values() if a.ndim), default=0)
            self.runs += session.share * rows
            return called(session, feeds)

        monkeypatch.setattr(cut.Session, "__init__", open_)
        monkeypatch.setattr(cut.Session, "__call__", call)


def test_no_more_than_three_runs_of_the_calibration_data_for_each_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = models.saved(residual(), tmp_path / "residual.onnx")
    network = onnx.load(path)
    products = sum(each.op_type in HEAVY for each in network.graph.node)
    counted = Counted(monkeypatch, products)
    forms = ("w8a8", "w7a8", "w6a8", "w5a8", "w4a8", "w3a8", "float16")
    table = sensitivity(path, Task(calibration=images(4)), formats=forms)
    assert table.formats == ("float16", *forms[:-1])
    assert table.samples < 16
    assert counted.runs < 3 * len(table.layers) * 32


def test_a_killed_run_goes_on_layer_by_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = models.saved(residual(), tmp_path / "residual.onnx")
    task, folder = Task(calibration=images(2)), tmp_path / "work"
    seen: list[str] = []

    def killed(items: Any, label: str, total: int | None = None) -> Any:
        for number, item in enumerate(items):
            if label == "sensitivity to w4a8" and number == 5:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        sensitivity(path, task, formats=["w8a8", "w4a8"], folder=folder, track=killed)

    original = module._keeping

    def spied(store: Store, form: Format) -> Any:
        keep = original(store, form)

        def spy(name: str, make: Any) -> Any:
            return keep(name, lambda: (seen.append(f"{form} {name}"), make())[1])

        return spy

    monkeypatch.setattr(module, "_keeping", spied)
    again = sensitivity(path, task, formats=["w8a8", "w4a8"], folder=folder)
    shares = [name for name in seen if "share" in name]
    assert len(shares) == len(again.layers) - 5
    assert not any(name.startswith("w8a8") for name in seen)
    seen.clear()
    assert sensitivity(path, task, formats=["w8a8", "w4a8"], folder=folder) == again
    assert seen == []
    monkeypatch.undo()
    assert sensitivity(path, task, formats=["w8a8", "w4a8"]) == again


def test_pairs_are_the_worst_with_a_neighbour_and_with_one_drawn() -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    errors = dict(zip(names, (1.0, 5.0, 0.0, 2.0, 4.0, 3.0), strict=True))
    pairs = chosen_pairs(names, errors, seed=0)
    assert pairs[0] == ("b", "d")
    assert pairs[1][0] == "b" and pairs[1][1] in ("e", "f")
    assert pairs == chosen_pairs(names, errors, seed=0)
    assert chosen_pairs(["a"], {"a": 1.0}, 0) == []
    assert chosen_pairs(["a", "b"], {"a": 1.0, "b": 2.0}, 0) == [("a", "b")]


def test_a_fixed_batch_is_run_as_it_is(tmp_path: Path) -> None:
    network = models.mlp()
    network.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 8
    network.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 8
    path = models.saved(network, tmp_path / "mlp.onnx")
    batches = [models.feeds(models.mlp(), 8, seed=seed) for seed in range(3)]
    table = sensitivity(path, Task(calibration=batches), formats=["w8a8"])
    assert table.samples == 16
    assert all(0 < layer.errors["w8a8"] < 1e-2 for layer in table.layers)


def quantized_already(path: Path) -> None:
    from lissom.quantize.weight_only import WeightOnly, weight_only

    write_onnx(weight_only(read_onnx(path), WeightOnly(), Context()), path)


@pytest.mark.parametrize(
    ("task", "more", "kind", "words"),
    [
        (None, {}, TaskError, "no task brings any"),
        (Task(validation=({"input": np.ones((9, 16), np.float32)}, np.arange(9) % 5)), {},
         TaskError, "the task has none"),
        (Task(calibration={"input": np.ones((3, 16), np.float32)}), {}, TaskError, "too few"),
        (Task(calibration={"input": np.ones((9, 4), np.float32)}), {}, TaskError, "16"),
        ("fits", {"formats": ["int8"]}, RequestError, "unknown format 'int8'"),
        ("fits", {"samples": 4}, RequestError, "too few"),
        ("fits", {"target": "onnx"}, RequestError, "did you mean 'onnxruntime'"),
        ("fits", {"cpu": "z80"}, RequestError, "z80"),
    ],
)  # fmt: skip
def test_wrong_requests_are_refused(
    tmp_path: Path, task: Any, more: dict[str, Any], kind: type[Exception], words: str
) -> None:
    path = models.saved(models.mlp(), tmp_path / "mlp.onnx")
    fits = Task(calibration=models.feeds(models.mlp(), 9))
    with pytest.raises(kind) as caught:
        sensitivity(path, fits if task == "fits" else task, **more)
    assert words in str(caught.value) and "fix: " in str(caught.value)


def test_models_without_a_layer_are_refused(tmp_path: Path) -> None:
    path = models.saved(models.mlp(), tmp_path / "mlp.onnx")
    task = Task(calibration=models.feeds(models.mlp(), 9))
    quantized_already(path)
    with pytest.raises(ModelError, match="quantized already"):
        sensitivity(path, task)
    bare = onnx.helper.make_graph(
        [node("Relu", ["input"], "y")], "bare",
        [models.value("input", onnx.TensorProto.FLOAT, "batch", 16)],
        [models.value("y", onnx.TensorProto.FLOAT, "batch", 16)],
        [numpy_helper.from_array(np.ones(1, np.float32), "unused")],
    )  # fmt: skip
    model = onnx.helper.make_model(bare, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    path = models.saved(model, tmp_path / "bare.onnx")
    with pytest.raises(ModelError, match="no layer to measure"):
        sensitivity(path, task)


def test_validation_data_are_not_looked_at(tmp_path: Path) -> None:
    path = models.saved(models.depthwise(), tmp_path / "depthwise.onnx")
    feeds = models.feeds(models.depthwise(), 16)
    wanted = sensitivity(path, Task(calibration=feeds), formats=["w4a8"])
    for factor in (1, 3):
        others = models.feeds(models.depthwise(), 16, seed=1)
        others = {name: array * np.float32(factor) for name, array in others.items()}
        task = Task(calibration=feeds, validation=others, metric="cosine")
        store = Store(tmp_path / str(factor))
        start = prepare(lissom.open_model(path), store, silent).built
        context, target = Context(calibration=task.calibration), find_target()
        found = module.measured_sensitivity(
            start, task, ["w4a8"], module.SAMPLES, context, store, target
        )
        assert found == wanted


def test_labels_stand_for_what_they_are_chosen_from(tmp_path: Path) -> None:
    plain = models.depthwise()
    (scores,) = (output.name for output in plain.graph.output)
    label = models.value("label", onnx.TensorProto.INT64, "batch")
    task = Task(calibration=models.feeds(plain, 32))
    forms = ["w8a8", "w2a8"]
    wanted = sensitivity(models.saved(plain, tmp_path / "plain.onnx"), task, formats=forms)
    assert all(layer.errors["w2a8"] > 0.01 for layer in wanted.layers)
    for beside in (False, True):
        network = models.depthwise()
        network.graph.node.append(node("ArgMax", [scores], "label", axis=1, keepdims=0))
        kept = list(network.graph.output) if beside else []
        del network.graph.output[:]
        network.graph.output.extend([label, *kept])
        path = models.saved(network, tmp_path / "labels.onnx")
        found = sensitivity(path, task, formats=forms)
        assert [each.errors for each in found.layers] == [
            pytest.approx(each.errors, rel=1e-4) for each in wanted.layers
        ]
        assert found.whole == pytest.approx(wanted.whole, rel=1e-4)
        assert found.pairs[0].measured == pytest.approx(wanted.pairs[0].measured, rel=1e-4)


def test_a_network_that_gives_only_a_size_is_refused(tmp_path: Path) -> None:
    network = models.mlp()
    (output,) = (each.name for each in network.graph.output)
    network.graph.node.append(node("Shape", [output], "size"))
    del network.graph.output[:]
    network.graph.output.append(models.value("size", onnx.TensorProto.INT64, 2))
    path = models.saved(network, tmp_path / "size.onnx")
    with pytest.raises(ModelError, match=r"no output to measure an error at(.|\n)*ArgMax"):
        sensitivity(path, Task(calibration=models.feeds(models.mlp(), 9)), formats=["w8a8"])


def test_float16_applies_to_weights_that_lose_nothing_in_it(tmp_path: Path) -> None:
    network = models.mlp(hidden=64)
    for tensor in network.graph.initializer:
        halves = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(halves, tensor.name))
    path = models.saved(network, tmp_path / "halves.onnx")
    task = Task(calibration=models.feeds(network, 16))
    table = sensitivity(path, task, formats=["float16", "w8a8"])
    # The second product has 320 weights, too few to be stored as float16.
    assert [layer.errors.get("float16") for layer in table.layers] == [0.0, None]
    assert all(layer.errors["w8a8"] > 0 for layer in table.layers)
    assert [layer.weights for layer in table.layers] == [1024, 320]
