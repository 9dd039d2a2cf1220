"""Pods as processes: what runs outside the platform so that pods outlive it.

::

    platform -- ProcessRuntime (homeport.node.process, asyncio)
       |  unix sockets, JSON lines (wire.py)
       |
       +-- zygote          fork server; owns the user namespace's root and the pods' addresses
       |     +-- netd      in the node's network namespace: cluster DNS, sockets for the platform
       |     +-- supervisor, one per pod: network, host name, IPC; logs, exits, state on disk
       |           +-- container: process 1 of its own pid and mount namespace

Everything here but :mod:`homeport.node.process` runs in processes forked from the zygote, one per pod. So these modules
import only small parts of the standard library (no asyncio, no typing at run time, no dataclasses), and nothing of the
rest of Homeport: what is imported here is paid once per machine, and what is touched later is paid per pod.
"""
