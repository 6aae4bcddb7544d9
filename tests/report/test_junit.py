"""JUnit XML: counts, messages, and characters that XML cannot hold."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from lissom.report.junit import Case, junit

CASES = (
    Case("artifact", "passed", "all well"),
    Case("size", "failed", 'size 2 MB exceeds "1MB" & <more>'),
    Case("latency", "skipped", "another machine"),
)
# What the schema of Jenkins' xUnit plugin allows, as far as we use it.
ALLOWED = {
    "testsuites": {"tests", "failures", "errors", "time"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time"},
    "testcase": {"name", "classname", "time"},
    "failure": {"message", "type"},
    "skipped": {"message"},
    "system-out": set(),
}


def test_counts_and_messages() -> None:
    written = junit("lissom check it", CASES, seconds=1.5)
    assert written.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites')
    root = ElementTree.fromstring(written.encode())
    suite = root[0]
    assert (suite.get("name"), suite.get("time")) == ("lissom check it", "1.500")
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == [
        "3", "1", "0", "1"
    ]  # fmt: skip
    passed, failed, skipped = suite
    assert passed.findtext("system-out") == "all well"
    assert failed[0].tag == "failure" and failed[0].get("message") == CASES[1].told
    assert skipped[0].tag == "skipped" and skipped[0].get("message") == "another machine"


def test_elements_and_attributes_are_those_that_readers_know() -> None:
    for element in ElementTree.fromstring(junit("suite", CASES)).iter():
        assert set(element.attrib) <= ALLOWED[element.tag]


def test_what_xml_cannot_hold_is_replaced() -> None:
    written = junit("a\x00b", [Case("\x1b[1m", "failed", "\udc80 \U0001f600")])
    case = ElementTree.fromstring(written)[0][0]
    assert case.get("name") == "\ufffd[1m"
    assert case[0].get("message") == "\ufffd \U0001f600"
