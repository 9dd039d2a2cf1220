"""Leader-worker sets of ``leaderworkerset.x-k8s.io/v1``: groups of a leader and its workers that are one replica."""
