"""The conformance checks find what they are there to find."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import farm
import msgspec
import pytest
from farm import CONTROLLER

from homeport.control.controller import Controller, Desired, Note, Observed
from homeport.control.testing import (
    Case,
    cases,
    check_conformance,
    check_finished_keeps,
    check_golden,
    observed,
)
from homeport.kube.meta import Object, status


def pod(name: str, phase: str = "") -> Object:
    made: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": []}}
    return made | ({"status": {"phase": phase}} if phase else {})


def with_sync(sync: Any) -> Controller:
    return msgspec.structs.replace(CONTROLLER, sync=sync)


START = observed(CONTROLLER, farm.farm("f", pods=2), children=[pod("f-0", "Succeeded"), pod("extra")])


def test_a_good_controller_conforms() -> None:
    check_conformance(CONTROLLER, START)


def test_random_names_are_found() -> None:
    numbers = itertools.count()
    bad = with_sync(lambda seen: Desired(children=(pod(f"p{next(numbers)}"),)))
    with pytest.raises(AssertionError, match="not deterministic"):
        check_conformance(bad, START)


def test_dependence_on_the_order_is_found() -> None:
    bad = with_sync(lambda seen: Desired(status={"first": next(iter(seen.children["Pod"]))}))
    with pytest.raises(AssertionError, match="not deterministic"):
        check_conformance(bad, START)


def test_changing_the_argument_is_found() -> None:
    def bad(seen: Observed) -> Desired:
        seen.parent["status"] = {"seen": True}
        return Desired()

    with pytest.raises(TypeError, match="read-only"):
        check_conformance(with_sync(bad), START)


def test_what_is_no_json_is_found() -> None:
    with pytest.raises(TypeError, match="JSON"):
        check_conformance(with_sync(lambda seen: Desired(status={"now": seen.now})), START)
    with pytest.raises(AssertionError, match="is not JSON"):
        check_conformance(with_sync(lambda seen: Desired(status={"names": ("a", "b")})), START)


def test_never_settling_is_found() -> None:
    bad = with_sync(lambda seen: Desired(status={"count": status(seen.parent).get("count", 0) + 1}))
    with pytest.raises(AssertionError, match="does not settle"):
        check_conformance(bad, START)


def test_repeated_notes_are_found() -> None:
    bad = with_sync(lambda seen: Desired(notes=(Note("Normal", "Always", "the same"),)))
    with pytest.raises(AssertionError, match="repeats its notes"):
        check_conformance(bad, START)


def test_dropping_children_once_finished_is_found() -> None:
    def bad(seen: Observed) -> Desired:
        if status(seen.parent).get("phase") == "Done":
            return Desired(status={"phase": "Done"})  # forgets to list its pods
        return Desired(status={"phase": "Done"}, children=(pod("p"),))

    start = observed(CONTROLLER, {**farm.farm("f"), "status": {"phase": "Done"}}, children=[pod("p", "Succeeded")])
    with pytest.raises(AssertionError, match="a finished parent dropped Pod p"):
        check_finished_keeps(with_sync(bad), start)
    check_finished_keeps(with_sync(lambda seen: Desired(keep=frozenset({("Pod", "p")}))), start)


def test_golden_pairs_are_written_and_compared(tmp_path: Path) -> None:
    case = tmp_path / "two.in.yaml"
    case.write_text(
        """
now: 2026-02-03T04:05:06Z
parent: {metadata: {name: f, creationTimestamp: 2026-01-01T00:00:00Z}, spec: {pods: 1, config: f-config}}
children: [{kind: Pod, apiVersion: v1, metadata: {name: f-0}}]
related: [{kind: ConfigMap, apiVersion: v1, metadata: {name: f-config, namespace: default}, data: {k: v}}]
"""
    )
    (found,) = cases(tmp_path)
    assert str(found) == "two"
    seen = found.observed(CONTROLLER)
    assert seen.now.isoformat() == "2026-02-03T04:05:06+00:00"
    assert seen.parent["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00Z"
    with pytest.raises(AssertionError, match="is missing"):
        check_golden(CONTROLLER, found, update=False)
    check_golden(CONTROLLER, found, update=True)
    check_golden(CONTROLLER, found, update=False)
    assert "config:\n    k: v" in found.expected.read_text()
    found.expected.write_text(found.expected.read_text().replace("k: v", "k: w"))
    with pytest.raises(AssertionError, match=r'-\s+"k": "w"'):
        check_golden(CONTROLLER, found, update=False)


def test_an_empty_directory_of_cases_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        cases(tmp_path)
    assert str(Case(tmp_path / "a.in.yaml")) == "a"
