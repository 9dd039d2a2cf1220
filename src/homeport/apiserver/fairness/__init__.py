"""API priority and fairness: no client, however greedy, keeps the others waiting for long.

`classification` sorts requests into levels and flows and is pure; `gate` hands out seats and turns; `flowcontrol` has
the objects that every cluster begins with, and `priority` keeps the gate in step with those in the store.
"""
