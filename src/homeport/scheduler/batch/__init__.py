"""Places groups of pods whole or not at all: the rules of Volcano and kube-batch, from a snapshot to decisions.

Nothing in here does I/O or reads a clock, but for the modules that say so. It needs numpy: whoever imports it does so
when there is a group to place, never at start-up.
"""
