"""Autoscalers: the number of replicas of a workload by metrics.

`replicas` says how many a metric asks for, `limits` how many there may be at once; both are pure. `metrics` reads
metrics from whoever serves them, `proposals` makes of a metric's declaration a number and a status, `controller` acts.
"""
