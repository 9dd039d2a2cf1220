"""Pods as plain processes, for machines that refuse namespaces: the next best, and less (docs/containers.md).

A pod's supervisor is a process of its own, as elsewhere. What namespaces would do for the network is done at the system
calls that make addresses matter: where the kernel hands those over (seccomp's user notification), every pod has an
address of 127.0.0.0/8 with all its ports, reaches services, and has a host name. Files are the machine's own.
"""
