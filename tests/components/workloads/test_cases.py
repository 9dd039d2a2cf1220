"""The rules that every controller has to hold, and golden pairs, over all workloads."""

from __future__ import annotations

from pathlib import Path

import pytest

from homeport.components import workloads
from homeport.control.controller import Controller
from homeport.control.testing import Case, cases, check_conformance, check_golden

CASES = cases(Path(__file__).parent / "cases")


def controller_of(case: Case) -> Controller:
    """The case's name begins with that of its kind."""
    kind = str(case).partition("-")[0]
    return next(each for each in workloads.CONTROLLERS if each.parent.kind.lower() == kind)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_golden(case: Case) -> None:
    check_golden(controller_of(case), case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_conformance(case: Case) -> None:
    controller = controller_of(case)
    check_conformance(controller, case.observed(controller))
