"""Results as JUnit XML, which GitHub, GitLab and Jenkins show as tests.

The elements and attributes are those of the format's common core, as the Jenkins xUnit plugin's
schema has them: testsuites > testsuite (name, tests, failures, errors, skipped, time) > testcase
(name, classname, time) > failure or skipped (message), or system-out.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# XML 1.0 has no way to write these, not even escaped.
UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Case:
    """One test: what became of it, and in words why, or what was found."""

    name: str
    outcome: Outcome
    told: str = ""


def junit(suite: str, cases: Sequence[Case], *, seconds: float = 0.0) -> str:
    """A JUnit XML document of one suite; `seconds` is how long it took."""
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.outcome == "failed" for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.outcome == "skipped" for case in cases)),
        "time": f"{seconds:.3f}",
    }
    # The whole has no place for how many were skipped.
    root = ElementTree.Element(
        "testsuites", {name: count for name, count in counts.items() if name != "skipped"}
    )
    group = ElementTree.SubElement(root, "testsuite", {"name": _written(suite), **counts})
    for case in cases:
        _add(group, case, suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def _add(group: ElementTree.Element, case: Case, suite: str) -> None:
    # The time of a single limit is not known: all come from one measurement.
    named = {"classname": _written(suite), "name": _written(case.name), "time": "0.000"}
    test = ElementTree.SubElement(group, "testcase", named)
    told = _written(case.told)
    if case.outcome == "failed":
        ElementTree.SubElement(test, "failure", {"message": told, "type": "failed"}).text = told
    elif case.outcome == "skipped":
        ElementTree.SubElement(test, "skipped", {"message": told})
    elif told:
        ElementTree.SubElement(test, "system-out").text = told


def _written(words: str) -> str:
    return UNWRITABLE.sub("\ufffd", words)
