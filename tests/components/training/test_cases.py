"""Golden pairs (see `homeport.control.testing`), and the rules of every controller from where they start."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from homeport.components.training import CONTROLLERS, KINDS
from homeport.control.controller import Controller
from homeport.control.testing import Case, cases, check_conformance, check_golden
from homeport.kube.meta import Object

CASES = cases(Path(__file__).parent / "cases")


def parent(case: Case) -> Object:
    document: Object = yaml.safe_load(case.path.read_text())["parent"]
    return document


def controller(case: Case) -> Controller:
    address = parent(case)["apiVersion"], parent(case)["kind"]
    return next(c for c in CONTROLLERS if (c.parent.api_version, c.parent.kind) == address)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    check_golden(controller(case), case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_conformance(case: Case) -> None:
    check_conformance(controller(case), case.observed(controller(case)))


def test_every_kind_has_cases() -> None:
    found = {(parent(case)["apiVersion"], parent(case)["kind"]) for case in CASES}
    assert found == {(kind.api_version, kind.kind) for kind in KINDS}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_only_the_jobs_of_invalid_cases_are_refused(case: Case) -> None:
    job = parent(case)
    kind = next(kind for kind in KINDS if kind.resource == controller(case).parent)
    errors = list(kind.validate(kind.prepare(job, None), None))
    assert bool(errors) == ("invalid" in str(case))
