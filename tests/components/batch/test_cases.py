"""Golden pairs (see `homeport.control.testing`), and the rules of every controller from where they start."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from homeport.components.batch import CONTROLLERS
from homeport.control.controller import Controller
from homeport.control.testing import Case, cases, check_conformance, check_finished_keeps, check_golden

CASES = cases(Path(__file__).parent / "cases")


def controller(case: Case) -> Controller:
    kind = yaml.safe_load(case.path.read_text())["parent"]["kind"]
    return next(each for each in CONTROLLERS if each.parent.kind == kind)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    check_golden(controller(case), case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_conformance(case: Case) -> None:
    check_conformance(controller(case), case.observed(controller(case)))


def test_every_controller_has_cases() -> None:
    assert {controller(case).name for case in CASES} == {each.name for each in CONTROLLERS}


def test_a_job_that_has_ended_keeps_its_pods() -> None:
    ended = next(case for case in CASES if str(case) == "job-ended")
    check_finished_keeps(controller(ended), ended.observed(controller(ended)))
