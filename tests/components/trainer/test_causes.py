"""Why a job failed outlives its pods, and a restart of the platform between their failure and the job's."""

from __future__ import annotations

from msgspec.structs import replace
from test_cases import ALL, CASES

from homeport.components import trainer
from homeport.kube.schema.compiled import Schema
from homeport.kube.schema.struct import components, ref_to, schema_name

CONTROLLER = ALL["trainjob-controller"]


def test_the_cause_survives_in_the_status() -> None:
    (case,) = (case for case in CASES if str(case) == "failed")
    end = case.observed(CONTROLLER)
    job_set = end.child("JobSet", "mnist")
    assert job_set is not None
    children = {**end.children, "JobSet": {"mnist": {**job_set, "status": {}}}}
    before = CONTROLLER.sync(replace(end, children=children))
    assert before.status is not None
    kept = before.status["firstFailure"]
    assert kept["text"].startswith("pod mnist-node-0-1-b4d9q: container node was killed by SIGKILL (exit code 137)")
    body = trainer.TRAIN_JOB.struct
    found = components((), (body,))
    job = {**end.parent, "status": before.status}
    pruned, unknown = Schema(ref_to(schema_name(body)), found).prune(job)
    assert pruned["status"] == job["status"]
    assert not [path for path in unknown if "status" in path]
    after = CONTROLLER.sync(replace(end, parent=job, related={**end.related, "Pod": {}}, memory={}))
    assert after.status is not None
    assert after.status["conditions"] == CONTROLLER.sync(end).status["conditions"]  # type: ignore[index]
    assert "firstFailure" not in after.status
