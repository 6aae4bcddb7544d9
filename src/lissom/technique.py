"""A technique is one frozen config and one function; this is the table they stand in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from lissom.errors import unknown

if TYPE_CHECKING:
    from pathlib import Path

    from lissom.batches import Batches
    from lissom.task import Task

T = TypeVar("T")
C = TypeVar("C", bound="Config")

Form = Literal["torch", "onnx"]
Need = Literal["calibration", "labels", "training", "float weights"]


class Config(BaseModel):
    """A technique's settings: valid or not there at all, and never written to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def check(self) -> None:
        """Refuse what only a package that is imported late knows to be wrong."""

    def reads(self) -> dict[str, str]:
        """Digests of what the settings only name: a step's result is of their content too."""
        return {}


class Track(Protocol):
    """Wraps an iterable so that someone may watch it: `track(batches, "calibrate")`."""

    def __call__(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]: ...


def silent(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """The track that shows nothing."""
    return iter(items)


def unheard(note: str) -> None:
    """The note that nobody reads."""


@dataclass(frozen=True)
class Context:
    """What a technique may know besides the model and its config.

    Attributes:
        pair_sums: the target's u8 x s8 kernels add adjacent pairs of products in 16 bits.
        calibration: unlabeled input batches, re-iterable, or None.
        task: training data, loss, validation and metric, for techniques that train; or None.
        original: makes a fresh copy of the network as it came, the teacher of a distillation;
            None where the model has only an ONNX form.
        workspace: a folder that survives a kill, for what one step keeps while it runs; or None.
        seed: seeds whatever is random.
        track: shows progress.
        note: takes a sentence that the user should read beside the result.
    """

    pair_sums: bool = False
    calibration: Batches | None = None
    task: Task | None = None
    original: Callable[[], Any] | None = None
    workspace: Path | None = None
    seed: int = 0
    track: Track = field(default=silent)
    note: Callable[[str], None] = field(default=unheard)


@dataclass(frozen=True)
class Technique:
    """One entry of the table: which form it takes, what it needs, what it leaves and destroys.

    What it needs and destroys may depend on its settings: then it is a function of the config.
    """

    name: str
    form: Form
    summary: str
    config: type[Config]
    apply: Callable[..., Any]
    needs: frozenset[Need] | Callable[[Any], Iterable[Need]]
    leaves: frozenset[str]
    destroys: frozenset[str] | Callable[[Any], Iterable[str]]

    def needs_of(self, config: Config) -> frozenset[Need]:
        """What must be there before it runs with these settings."""
        return frozenset(self.needs(config) if callable(self.needs) else self.needs)

    def destroys_of(self, config: Config) -> frozenset[str]:
        """What no later step can use after it ran with these settings."""
        return frozenset(self.destroys(config) if callable(self.destroys) else self.destroys)


TECHNIQUES: dict[str, Technique] = {}


def technique(
    name: str,
    *,
    config: type[C],
    form: Form = "onnx",
    needs: Iterable[Need] | Callable[[C], Iterable[Need]] = (),
    leaves: Iterable[str] = (),
    destroys: Iterable[str] | Callable[[C], Iterable[str]] = (),
) -> Callable[[Callable[[Any, C, Context], T]], Callable[[Any, C, Context], T]]:
    """Register `function(model, config, context) -> model` under `name`.

    The first line of the function's docstring is what `lissom techniques` prints.
    """

    def register(function: Callable[[Any, C, Context], T]) -> Callable[[Any, C, Context], T]:
        if name in TECHNIQUES:
            raise ValueError(f"two techniques are called {name!r}")
        summary = (function.__doc__ or "").strip().splitlines()[0]
        TECHNIQUES[name] = Technique(
            name,
            form,
            summary,
            config,
            function,
            needs if callable(needs) else frozenset(needs),
            frozenset(leaves),
            destroys if callable(destroys) else frozenset(destroys),
        )
        return function

    return register


def find_technique(name: str) -> Technique:
    """The technique of that name.

    Raises:
        RequestError: no technique has that name; the nearest one is offered.
    """
    try:
        return TECHNIQUES[name]
    except KeyError:
        raise unknown("technique", name, TECHNIQUES) from None
