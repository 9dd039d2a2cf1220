"""Disruption budgets: how many pods there should be and are healthy, so that evictions know what they may take.

`counting` is pure; `scale` finds out how many pods a controller wants; `controller` acts. What a budget means to an
eviction is in :mod:`homeport.kube.core.disruption`.
"""
