from __future__ import annotations

import pytest

from homeport.kube import scheduling
from homeport.scheduler.batch.groups import parse_group

GROUP = scheduling.VOLCANO_POD_GROUP.resource


@pytest.mark.parametrize(("members", "roles"), [(3, {"ps": 1, "worker": 2}), (4, {"ps": 1, "worker": 2}), (1, {})])
def test_who_needs_fewer_than_the_tasks_together_minds_no_longer_which(members: int, roles: dict[str, int]) -> None:
    """A Volcano job with ``minAvailable: 1`` whose tasks say nothing: each needs all its replicas, by default."""
    spec = {"minMember": members, "minTaskMember": {"ps": 1, "worker": 2}}
    obj = {"metadata": {"name": "g", "namespace": "default"}, "spec": spec}
    group = parse_group(GROUP, obj, 0)
    assert (group.min_member, group.min_task_member) == (members, roles)
