"""Job sets of ``jobset.x-k8s.io/v1alpha2``: jobs that start, fail and end together."""
