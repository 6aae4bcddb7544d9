from __future__ import annotations

import pytest

pytest.importorskip("torch")

from lissom.errors import RequestError
from lissom.nn.coupling import Coupling, Group, Layer
from lissom.prune.selection import Ranking, Sizes, choose

SHAPES = {"a.weight": (8, 3), "b.weight": (4, 8), "c.weight": (2, 4)}
LAYERS = (Layer("a.weight", 10), Layer("b.weight", 10), Layer("c.weight", 1))


def group(made: str, used: str, count: int) -> Group:
    channels = tuple(((f"{made}.weight", 0, k), (f"{used}.weight", 1, k)) for k in range(count))
    return Group(made, channels, ((f"{made}.weight", 0),), ((f"{used}.weight", 1),))


def rankings(a: float = 1.0, b: float = 1.0) -> list[Ranking]:
    return [
        Ranking(group("a", "b", 8), tuple(range(8)), (a,) * 8),
        Ranking(group("b", "c", 4), tuple(range(4)), (b,) * 4),
    ]


def sizes() -> Sizes:
    return Sizes.of(Coupling((), (), LAYERS, 12), SHAPES)


def test_products_are_counted_before_and_after() -> None:
    before = sizes()
    assert before.macs() == 10 * 24 + 10 * 32 + 8 + 12
    loss = {("a.weight", 0): 2, ("b.weight", 1): 2}
    assert before.saved(loss) == 10 * 6 + 10 * 8
    before.shrink(loss)
    assert before.macs() == 10 * 18 + 10 * 24 + 8 + 12


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.8])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_at_least_the_ratio_goes_and_no_layer_is_emptied(ratio: float, scope: str) -> None:
    after = sizes()
    counts = choose(rankings(), after, ratio=ratio, measure="macs", scope=scope)  # type: ignore[arg-type]
    assert 1 - after.macs() / 580 >= ratio - 1e-9
    assert counts[0] < 8 and counts[1] < 4
    if ratio == 0:
        assert counts == [0, 0]


def test_layers_lose_the_same_share() -> None:
    assert choose(rankings(), sizes(), ratio=0.5, measure="channels", scope="layer") == [4, 2]


def test_the_network_loses_where_it_costs_least() -> None:
    dear, cheap = 100.0, 0.001
    assert choose(
        rankings(dear, cheap), sizes(), ratio=0.25, measure="channels", scope="global"
    ) == [0, 3]
    assert choose(
        rankings(cheap, dear), sizes(), ratio=0.25, measure="channels", scope="global"
    ) == [3, 0]


def test_what_is_left_is_a_multiple() -> None:
    counts = choose(
        rankings(), sizes(), ratio=0.3, measure="channels", scope="layer", multiple_of=4
    )
    assert counts == [4, 0]


@pytest.mark.parametrize("measure", ["macs", "channels"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_a_ratio_that_empties_a_layer_is_refused_and_what_is_offered_works(
    measure: str, scope: str
) -> None:
    arguments = {"measure": measure, "scope": scope}
    with pytest.raises(RequestError, match="empty the layer 'b'") as caught:
        choose(rankings(), sizes(), ratio=0.99, **arguments)  # type: ignore[arg-type]
    assert caught.value.fix is not None
    offered = float(caught.value.fix.split()[-1])
    assert 0.8 < offered < 0.99
    assert choose(rankings(), sizes(), ratio=offered, **arguments) == [7, 3]  # type: ignore[arg-type]


def test_a_network_without_anything_to_prune_is_refused() -> None:
    with pytest.raises(RequestError, match="no layer"):
        choose([], sizes(), ratio=0.5, measure="macs", scope="layer")
