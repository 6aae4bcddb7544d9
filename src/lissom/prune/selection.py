"""How many channels each group loses, given in which order it would lose them and at what cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lissom.errors import RequestError
from lissom.nn.coupling import Coupling, Group
from lissom.prune.structured import Measure, Scope


@dataclass(frozen=True)
class Ranking:
    """A group's channels, the first to go first, and what each removal costs."""

    group: Group
    order: tuple[int, ...]
    costs: tuple[float, ...]


@dataclass
class Sizes:
    """The sizes of all weights while channels are taken away, and the products they make.

    Attributes:
        shapes: the shape of every weight that multiplies.
        uses: (weight, products per element) for every use of one.
        fixed: products that pruning does not change.
    """

    shapes: dict[str, list[int]]
    uses: tuple[tuple[str, int], ...]
    fixed: int
    _of_weight: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._of_weight = {}
        for weight, positions in self.uses:
            self._of_weight[weight] = self._of_weight.get(weight, 0) + positions

    @classmethod
    def of(cls, coupling: Coupling, shapes: Mapping[str, Sequence[int]]) -> Sizes:
        """The sizes of a network before anything is removed."""
        return cls(
            {layer.weight: list(shapes[layer.weight]) for layer in coupling.layers},
            tuple((layer.weight, layer.positions) for layer in coupling.layers),
            coupling.fixed_macs,
        )

    def macs(self) -> int:
        """Multiply-accumulates of one run of the example inputs."""
        return self.fixed + sum(
            positions * math.prod(self.shapes[weight])
            for weight, positions in self._of_weight.items()
        )

    def saved(self, loss: Mapping[tuple[str, int], int]) -> int:
        """Multiply-accumulates that go when axes become shorter by so much."""
        total = 0
        for weight in {weight for weight, _ in loss}:
            shape = self.shapes[weight]
            smaller = [size - loss.get((weight, axis), 0) for axis, size in enumerate(shape)]
            total += self._of_weight[weight] * (math.prod(shape) - math.prod(smaller))
        return total

    def shrink(self, loss: Mapping[tuple[str, int], int]) -> None:
        """Make axes shorter."""
        for (weight, axis), count in loss.items():
            self.shapes[weight][axis] -= count

    def loss(self, group: Group, channel: int) -> dict[tuple[str, int], int]:
        """By how much each axis of a weight is shorter without one channel of a group."""
        lost: dict[tuple[str, int], int] = {}
        for tensor, axis, _ in group.channels[channel]:
            if tensor in self.shapes:
                lost[tensor, axis] = lost.get((tensor, axis), 0) + 1
        return lost


@dataclass
class _Group:
    """One group while its channels are counted off."""

    ranking: Ranking
    multiple: int
    loss: dict[tuple[str, int], int]
    removed: int = 0

    @property
    def step(self) -> int:
        """How many channels go next, so that a multiple is left; 0 when no more may go."""
        left = len(self.ranking.order) - self.removed
        step = left % self.multiple or self.multiple
        return step if left - step >= 1 else 0

    def cost(self) -> float:
        return sum(self.ranking.costs[self.removed : self.removed + self.step])

    def next_loss(self) -> dict[tuple[str, int], int]:
        return {axis: count * self.step for axis, count in self.loss.items()}


def choose(
    rankings: Sequence[Ranking],
    sizes: Sizes,
    *,
    ratio: float,
    measure: Measure,
    scope: Scope,
    multiple_of: int = 1,
    further: str = "",
) -> list[int]:
    """How many channels to remove from each group so that at least `ratio` is gone.

    One step after another goes where it costs least for what it saves (scope "global"), or where
    the smallest share is gone so far ("layer"). `further` is the way to a higher ratio, for an
    error to name.

    Raises:
        RequestError: the ratio cannot be reached without emptying a layer.
    """
    states = [_Group(ranking, multiple_of, sizes.loss(ranking.group, 0)) for ranking in rankings]
    whole = sizes.macs()
    channels = sum(len(ranking.order) for ranking in rankings)

    def gone() -> float:
        if measure == "macs":
            return 1 - sizes.macs() / whole if whole else 0.0
        return sum(state.removed for state in states) / channels if channels else 0.0

    weigh = _share if scope == "layer" else _dearness(sizes, measure)
    weights = {id(state): weigh(state) for state in states if state.step}
    while gone() < ratio - 1e-9:
        if not weights:
            raise _empties(states, gone(), ratio, measure, further)
        state = min(
            (state for state in states if id(state) in weights), key=lambda s: weights[id(s)]
        )
        loss = state.next_loss()
        sizes.shrink(loss)
        state.removed += state.step
        touched = {weight for weight, _ in loss}
        for each in states:
            if each is state or touched & {weight for weight, _ in each.loss}:
                weights.pop(id(each), None)
                if each.step:
                    weights[id(each)] = weigh(each)
    return [state.removed for state in states]


def _share(state: _Group) -> float:
    return (state.removed + state.step) / len(state.ranking.order)


def _dearness(sizes: Sizes, measure: Measure) -> Callable[[_Group], float]:
    def weigh(state: _Group) -> float:
        saved = sizes.saved(state.next_loss()) if measure == "macs" else state.step
        return state.cost() / max(saved, 1)

    return weigh


def _empties(
    states: Sequence[_Group], highest: float, ratio: float, measure: Measure, further: str
) -> RequestError:
    if not states:
        return RequestError(
            "no layer of this network can be pruned",
            fix=further or "leave prune.structured out, or keep fewer layers",
        )
    name = min(states, key=lambda state: len(state.ranking.order)).ranking.group.name
    # Rounded down, so that what is offered works.
    offered = math.floor(highest * 1000) / 1000
    return RequestError(
        f"removing {ratio:.1%} of the {_WORDS[measure]} would empty the layer {name!r}",
        fix=f"the highest ratio that works here is {measure}: {offered}"
        + (f"; {further}" if further else ""),
    )


_WORDS = {"macs": "multiply-accumulates", "channels": "channels"}
