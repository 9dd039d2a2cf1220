"""The annotations, labels and names that tie pods to groups, and groups to queues."""

from __future__ import annotations

GROUP_NAME = "scheduling.k8s.io/group-name"
"""Annotation of a pod: the pod group it belongs to (kube-batch and Volcano)."""
VOLCANO_GROUP_NAME = "scheduling.volcano.sh/group-name"
"""The same, under Volcano's own name."""
GROUP_MIN_MEMBER = "scheduling.volcano.sh/group-min-member"
"""Annotation of what controls pods without a group: ``minMember`` of the one that is made for them."""
GROUP_MIN_RESOURCES = "scheduling.volcano.sh/group-min-resources"
"""The same for ``minResources``, as JSON."""
KUBE_BATCH_MIN_MEMBER = "scheduling.k8s.io/group-min-member"
"""kube-batch: of a pod without a group name, how many like it have to be placed together."""
QUEUE_NAME = "scheduling.volcano.sh/queue-name"
"""Annotation: the queue of what it is put on (pods, jobs, namespaces)."""
COSCHEDULING_GROUP = "scheduling.x-k8s.io/pod-group"
"""Label of a pod: the pod group it belongs to (the coscheduling plug-in)."""
VOLCANO_PREFIX = "volcano.sh/"
"""Annotations with it go from pods and jobs to their groups."""
TASK_SPEC = "volcano.sh/task-spec"
"""Annotation and label of a pod: the task of its job that it belongs to."""

DEFAULT_QUEUE, ROOT_QUEUE = "default", "root"

VOLCANO, KUBE_BATCH, SCHEDULER_PLUGINS = "volcano", "kube-batch", "scheduler-plugins-scheduler"
"""Values of ``schedulerName``."""
