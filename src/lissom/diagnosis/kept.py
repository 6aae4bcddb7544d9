"""A diagnosis kept in a store part by part, so that a killed one goes on where it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from lissom.recipe.run import torch_versions
from lissom.recipe.store import Store, digest
from lissom.report.diagnosis import Diagnosis
from lissom.targets.onnxruntime import kernels_saturate


class Keep(Protocol):
    """Gives the part of that name, as numbers, strings, lists and dicts: found, or made."""

    def __call__(self, name: str, make: Callable[[], Any]) -> Any: ...


def unkept(name: str, make: Callable[[], Any]) -> Any:
    """Every part is made anew."""
    return make()


class _Part(BaseModel):
    """What is written; every float is read as it was, infinite ones too."""

    model_config = ConfigDict(ser_json_inf_nan="constants")
    value: Any


def kept(store: Store, key: str, make: Callable[[Keep], Diagnosis]) -> Diagnosis:
    """The diagnosis of that key: found whole, or made of those parts that are not there yet.

    Args:
        store: held by this run alone.
        key: the digest of everything that can change the diagnosis.
        make: makes it, and calls its argument for each part that took long. What fails is not
            kept.

    Raises:
        FolderError: the disk is full or the folder is not writable.
    """
    folder = store.folder / "work" / key

    def whole() -> _Part:
        parts = Store(folder)

        def keep(name: str, make: Callable[[], Any]) -> Any:
            return parts.record(digest(part=name), _Part, lambda: _Part(value=make())).value

        return _Part(value=make(keep).model_dump())

    found = Diagnosis.model_validate(store.record(key, _Part, whole).value)
    shutil.rmtree(folder, ignore_errors=True)
    return found


def facts(pair_sums: bool | None) -> dict[str, Any]:
    """What a diagnosis depends on besides files and data, for its key.

    Args:
        pair_sums: as `diagnose` takes it.
    """
    return {
        "pair_sums": pair_sums,
        "saturates": kernels_saturate(),
        "code": torch_versions(),
        # Its source is among what is only told, but it says what is kept.
        "fields": Diagnosis.model_json_schema(),
    }


def forget(store: Store) -> None:
    """Remove everything that diagnoses left in a store."""
    for name in ("work", store.records.name, store.steps.name):
        shutil.rmtree(store.folder / name, ignore_errors=True)
    store.records.mkdir(exist_ok=True)
    store.steps.mkdir(exist_ok=True)
