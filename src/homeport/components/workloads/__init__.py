"""Workloads that keep pods running, as kube-controller-manager does on a cluster: deployments, replica sets,
replication controllers, stateful sets and daemon sets. A real cluster has its own."""

from __future__ import annotations

from homeport.components.workloads.daemonset import DAEMON_SETS
from homeport.components.workloads.deployment import DEPLOYMENTS
from homeport.components.workloads.replicas import REPLICA_SETS, REPLICATION_CONTROLLERS
from homeport.components.workloads.statefulset import STATEFUL_SETS
from homeport.control.controller import Controller
from homeport.kube.kind import Kind

KINDS: tuple[Kind, ...] = ()
"""All kinds that it works on are built in (``homeport.kube.core``)."""
CONTROLLERS: tuple[Controller, ...] = (DEPLOYMENTS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS, DAEMON_SETS)
