"""Resource quotas: what objects use, which quotas they count for, and the books that are kept with each write.

`usage` and `scopes` are pure; `ledger` keeps ``status.hard`` and ``status.used`` of every quota in step with the
objects, in the very transactions that write these.
"""
