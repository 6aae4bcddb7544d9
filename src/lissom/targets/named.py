"""The runtimes by the names that users type; each is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Sequence

from lissom.errors import unknown
from lissom.targets.target import Opener, Target

DEFAULT = "onnxruntime"
RUNTIMES = (DEFAULT, "openvino")


def check_runtime(name: str) -> None:
    """Refuse a name that is in no table.

    Raises:
        RequestError: there is no such runtime; the nearest name is offered.
    """
    if name not in RUNTIMES:
        raise unknown("target", name, RUNTIMES)


def find_target(name: str = DEFAULT, cpu: str | None = None) -> Target:
    """A runtime on this machine, or built here for another class of processor.

    Raises:
        RequestError: there is no such runtime or class.
        MissingExtra: the runtime is not installed.
    """
    check_runtime(name)
    if name == "openvino":
        from lissom.targets.openvino import openvino_target

        return openvino_target(cpu)
    from lissom.targets.onnxruntime import onnxruntime_target

    return onnxruntime_target(cpu)


def described(targets: Sequence[Target]) -> str:
    """Runtimes, their versions, and the class of processor where it is not this machine's."""
    first = targets[0]
    here = "" if first.here else f", built for {first.cpu}"
    return " and ".join(f"{each.name} {each.version}" for each in targets) + here


def opener(name: str = DEFAULT) -> Opener:
    """What opens files in a runtime, without looking at the machine.

    Raises:
        RequestError: there is no such runtime.
        MissingExtra: the runtime is not installed.
    """
    check_runtime(name)
    if name == "openvino":
        from lissom.targets.openvino import open_file as open_in_openvino

        return open_in_openvino
    from lissom.targets.onnxruntime import open_file

    return open_file
