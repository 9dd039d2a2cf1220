"""Pods as containers of Docker or Podman: the runtime of ``--runtime docker``.

A pod is an infrastructure container, which only waits and holds what the pod's containers share (network, IPC, name),
and a container of the engine for each of its own. The pods' network is the same as that of pods as processes: the
network helper runs as a privileged container of the engine and links the infrastructure containers' network namespaces
to the node's.
"""
