"""What a job's plug-ins give its pods, and the objects that they make (upstream: ``pkg/controllers/job/plugins``).

``env`` numbers the pods of a task, ``svc`` makes them find each other, ``ssh`` gives them keys; ``tensorflow``,
``pytorch`` and ``mpi`` set what these frameworks look for, ``ray`` starts a Ray cluster. To add one: a function here,
and an entry in :data:`_SHAPES`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from homeport.components.volcano.job import shape
from homeport.components.volcano.job.shape import Task
from homeport.kube import meta
from homeport.kube.meta import Object

Arguments = Mapping[str, str]
HOSTS_PATH = "/etc/volcano"
_SSH_PATH, _SSH_FILES = "/root/.ssh", ("id_rsa", "id_rsa.pub", "authorized_keys", "config")
_DEFAULTS: Mapping[str, Arguments] = {
    "env": {},
    "svc": {"publish-not-ready-addresses": "false", "disable-network-policy": "false", "inject-hosts-env": "true"},
    "ssh": {"ssh-key-file-path": _SSH_PATH, "ssh-private-key": "", "ssh-public-key": "", "ssh-port": "22"},
    "tensorflow": {"ps": "ps", "worker": "worker", "chief": "chief", "evaluator": "evaluator", "port": "2222"},
    "pytorch": {"master": "master", "worker": "worker", "port": "23456"},
    "mpi": {"master": "master", "worker": "worker", "port": "22"},
    "ray": {
        "head": "head",
        "headContainer": "head",
        "worker": "worker",
        "workerContainer": "worker",
        "port": "6379",
        "dashboardPort": "8265",
        "clientPort": "10001",
    },
}
NAMES = tuple(_DEFAULTS)
_ALIASES = {"clientServerPort": "clientPort"}
"""Flags as upstream's documentation has them -> as its code has them."""
_LEADERS = {"mpi": "master", "ray": "head"}
"""Plug-ins that nothing works without one task of -> the flag with its name."""
_RAY_PORTS = {"gcs": "port", "dashboard": "dashboardPort", "client-server": "clientPort"}
_SWITCHES = ("publish-not-ready-addresses", "disable-network-policy", "inject-hosts-env")


def with_needed(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The plug-ins and those that they need."""
    result = dict(given)
    if any(name in given for name in ("tensorflow", "mpi", "pytorch", "ray")):
        result.setdefault("svc", [])
    if "mpi" in given:
        result.setdefault("ssh", [])
    return result


def parsed(name: str, arguments: Sequence[str]) -> Arguments:
    """``--flag=value``, ``--flag value`` and, for switches, ``--flag``, as Go's ``flag`` takes them; with defaults.
    Raises ValueError for what the plug-in does not know."""
    result = dict(_DEFAULTS[name])
    left = iter(arguments)
    for argument in left:
        key, given, value = argument.lstrip("-").partition("=")
        key = _ALIASES.get(key, key)
        if not argument.startswith("-") or key not in result:
            raise ValueError(f"flag provided but not defined: -{key}" if argument.startswith("-") else argument)
        if key in _SWITCHES:
            text = value.lower() if given else "true"
            if text not in ("true", "false", "1", "0", "t", "f"):
                raise ValueError(f'invalid boolean value "{value}" for -{key}')
            result[key] = "true" if text in ("true", "1", "t") else "false"
            continue
        if not given:
            value = next(left, "")
        if key.lower().endswith("port") and not (value.isdigit() and 0 < int(value) < 65536):
            raise ValueError(f'invalid value "{value}" for flag -{key}: it is no port')
        result[key] = value
    return result


def complaints(name: str, arguments: Sequence[str]) -> Iterator[str]:
    try:
        parsed(name, arguments)
    except ValueError as error:
        yield f" plugin {name}: {error};"


def leaders(given: Mapping[str, Sequence[str] | None]) -> Iterator[tuple[str, str, str]]:
    """The plug-ins of `given` that nothing works without a certain task of, with its role and its name."""
    for plugin, role in _LEADERS.items():
        if plugin in given:
            try:
                yield plugin, role, parsed(plugin, given[plugin] or ())[role]
            except ValueError:  # which is complained about by itself
                yield plugin, role, _DEFAULTS[plugin][role]


def of(job: Object) -> dict[str, Arguments]:
    """The plug-ins of a job, with their arguments."""
    given: Mapping[str, Sequence[str] | None] = meta.spec(job).get("plugins") or {}
    return {name: parsed(name, given[name] or ()) for name in NAMES if name in given}


def objects(job: Object, used: Mapping[str, Arguments]) -> Iterator[Object]:
    """What the plug-ins make beside pods."""
    name = meta.name(job)
    if "svc" in used:
        own = {shape.JOB_NAME: name, shape.JOB_NAMESPACE: meta.namespace(job)}
        yield _object("v1", "ConfigMap", f"{name}-svc", data=hosts(job))
        spec: Object = {"clusterIP": "None", "selector": own}
        if used["svc"]["publish-not-ready-addresses"] == "true":
            spec["publishNotReadyAddresses"] = True
        yield _object("v1", "Service", name, spec=spec)
        if used["svc"]["disable-network-policy"] != "true":
            inside = {"matchLabels": own}
            rules = {
                "podSelector": inside,
                "ingress": [{"from": [{"podSelector": inside}]}],
                "policyTypes": ["Ingress"],
            }
            yield _object("networking.k8s.io/v1", "NetworkPolicy", name, spec=rules)
    if "ssh" in used:
        data = {"config": _encoded(_ssh_config(job, used["ssh"]["ssh-port"]))}
        if used["ssh"]["ssh-private-key"]:
            public = _encoded(used["ssh"]["ssh-public-key"])
            data |= {"id_rsa": _encoded(used["ssh"]["ssh-private-key"]), "id_rsa.pub": public}
            data["authorized_keys"] = public
        yield _object("v1", "Secret", f"{name}-ssh", data=data)
    if "ray" in used:
        arguments = used["ray"]
        selector = {
            shape.JOB_NAME: name,
            shape.JOB_NAMESPACE: meta.namespace(job),
            shape.TASK_SPEC: arguments["head"],
        }
        ports = [
            {"name": port, "port": int(arguments[flag]), "targetPort": int(arguments[flag]), "protocol": "TCP"}
            for port, flag in _RAY_PORTS.items()
        ]
        yield _object("v1", "Service", f"{name}-head-svc", spec={"selector": selector, "ports": ports})


def _object(api_version: str, kind: str, name: str, **fields: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **fields}


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def with_keys(secret: Object) -> Object:
    """The secret with a pair of keys that nobody else has, unless the user gave one. It computes for a moment."""
    data = secret.get("data") or {}
    if "id_rsa" in data:
        return secret
    from cryptography.hazmat.primitives import serialization  # few jobs ever need it
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    public = base64.b64encode(line + b"\n").decode()
    keys = {"id_rsa": base64.b64encode(private).decode(), "id_rsa.pub": public, "authorized_keys": public}
    return {**secret, "data": {**data, **keys}}


def hosts(job: Object) -> dict[str, str]:
    """Files and variables with the hosts of each task."""
    found: dict[str, str] = {}
    for task in shape.tasks(job):
        key, listed = task.name.replace("-", "_"), task.hosts
        found[f"{key}.host"] = "\n".join(listed)
        found[f"VC_{key.upper()}_HOSTS"] = ",".join(listed)
        found[f"VC_{key.upper()}_NUM"] = str(len(listed))
    return found


def _ssh_config(job: Object, port: str) -> str:
    lines = ["StrictHostKeyChecking no", "UserKnownHostsFile /dev/null"]
    for task in shape.tasks(job):
        for host in task.hosts:
            lines += [f"Host {host.partition('.')[0]}", f"  HostName {host}", f"  Port {port}"]
    return "\n".join(lines) + "\n"


# -- pods: (job, arguments, task, index, spec) -> spec; none changes its argument

_Everywhere = ("containers", "initContainers")


def shaped(job: Object, used: Mapping[str, Arguments], task: Task, index: int, spec: Object) -> Object:
    """The spec of a task's pod with what the plug-ins add."""
    for name, arguments in used.items():
        spec = _SHAPES[name](job, arguments, task, index, spec)
    return spec


def _added(spec: Object, where: Sequence[str], **lists: Sequence[Object]) -> Object:
    """With more items in lists of the containers."""
    result = dict(spec)
    for field in where:
        if spec.get(field):
            result[field] = [
                {**container, **{key: [*(container.get(key) or ()), *more] for key, more in lists.items() if more}}
                for container in spec[field]
            ]
    return result


def _with_volume(spec: Object, volume: Object) -> Object:
    return {**spec, "volumes": [*(spec.get("volumes") or ()), volume]}


def _env(job: Object, arguments: Arguments, task: Task, index: int, spec: Object) -> Object:
    variables = [{"name": name, "value": str(index)} for name in ("VK_TASK_INDEX", "VC_TASK_INDEX")]
    return _added(spec, _Everywhere, env=variables)


def _svc(job: Object, arguments: Arguments, task: Task, index: int, spec: Object) -> Object:
    source = f"{task.job}-svc"
    named = {
        **spec,
        "hostname": spec.get("hostname") or task.pod_name(index),
        "subdomain": spec.get("subdomain") or task.job,
    }
    keys = [key for key in hosts(job) if key.startswith("VC_")] if arguments["inject-hosts-env"] == "true" else []
    variables = [{"name": key, "valueFrom": {"configMapKeyRef": {"name": source, "key": key}}} for key in keys]
    mount = {"mountPath": HOSTS_PATH, "name": source}
    result = _added(named, _Everywhere, env=variables, volumeMounts=[mount])
    return _with_volume(result, {"name": source, "configMap": {"name": source}})


def _ssh(job: Object, arguments: Arguments, task: Task, index: int, spec: Object) -> Object:
    source, path = f"{task.job}-ssh", arguments["ssh-key-file-path"]
    items = [{"key": key, "path": f".ssh/{key}"} for key in _SSH_FILES]
    secret = {"secretName": source, "items": items, "defaultMode": 0o600 if path == _SSH_PATH else 0o644}
    mount = {"mountPath": path, "subPath": ".ssh", "name": source}
    return _with_volume(_added(spec, _Everywhere, volumeMounts=[mount]), {"name": source, "secret": secret})


def _tensorflow(job: Object, arguments: Arguments, task: Task, index: int, spec: Object) -> Object:
    tasks = shape.tasks(job)
    if len(tasks) == 1 and tasks[0].replicas == 1:
        return spec
    roles = {arguments[role]: role for role in ("ps", "worker", "chief", "evaluator")}
    cluster = {
        roles[one.name]: [f"{one.host(i)}:{arguments['port']}" for i in range(one.replicas)]
        for one in tasks
        if one.name in roles and one.replicas
    }
    config = {"cluster": cluster, "task": {"type": roles.get(task.name, task.name), "index": index}}
    value = json.dumps(config, separators=(",", ":"))
    return _added(spec, ("containers",), env=[{"name": "TF_CONFIG", "value": value}])


def _pytorch(job: Object, arguments: Arguments, task: Task, index: int, spec: Object) -> Object:
    tasks = {one.name: one for one in shape.tasks(job)}
    master = tasks.get(arguments["master"])
    if master is None:
        return spec
    members = [tasks[name] for name in dict.fromkeys((arguments["master"], arguments["worker"])) if name in tasks]
    values = {"MASTER_ADDR": master.host(0), "MASTER_PORT": arguments["port"]}
    values["WORLD_SIZE"] = str(sum(one.replicas for one in members))
    if task.name == arguments["worker"]:
        values["RANK"] = str(index + 1)
    elif task.name == arguments["master"]:
        values["RANK"] = "0"
    variables = [{"name": name, "value": value} for name, value in values.items()]
    result = _added(spec, ("containers",), env=variables)
    return _opened(result, ("containers",), "pytorchjob-port", int(arguments["port"]))


def _mpi(job: Object, arguments: Arguments, task: Task, index: int, spec: Object) -> Object:
    workers = next((one for one in shape.tasks(job) if one.name == arguments["worker"]), None)
    if task.name == arguments["master"]:
        if workers is None:
            return spec
        spec = _added(spec, _Everywhere, env=[{"name": "MPI_HOST", "value": ",".join(workers.hosts)}])
    return _opened(spec, _Everywhere, "mpijob-port", int(arguments["port"]))


def _ray(job: Object, arguments: Arguments, task: Task, index: int, spec: Object) -> Object:
    """Upstream: what the containers' own commands say counts for nothing."""
    if task.name == arguments["head"]:
        own = arguments["headContainer"]
        ports = f"--port={arguments['port']} --dashboard-port={arguments['dashboardPort']}"
        options = f"--head --block --dashboard-host=0.0.0.0 {ports} --ray-client-server-port={arguments['clientPort']}"
    elif task.name == arguments["worker"]:
        head = next(one for one in shape.tasks(job) if one.name == arguments["head"])
        own = arguments["workerContainer"]
        options = f"--block --address={head.host(0)}:{arguments['port']}"
    else:
        return spec
    command = ["sh", "-c", f"ray start {options}"]
    containers = [{**one, "command": command} if one["name"] == own else one for one in spec["containers"]]
    result = {**spec, "containers": containers}
    if task.name == arguments["head"]:
        for name, flag in _RAY_PORTS.items():
            result = _opened(result, ("containers",), name, int(arguments[flag]), only=own)
    return result


def _opened(spec: Object, where: Sequence[str], name: str, port: int, *, only: str = "") -> Object:
    """With a port in each container that has not got it; `only`: in the one of this name."""
    result = dict(spec)
    for field in where:
        if spec.get(field):
            result[field] = [
                container
                if (only and container["name"] != only)
                or any(one.get("containerPort") == port for one in container.get("ports") or ())
                else {**container, "ports": [*(container.get("ports") or ()), {"name": name, "containerPort": port}]}
                for container in spec[field]
            ]
    return result


_SHAPES: Mapping[str, Callable[[Object, Arguments, Task, int, Object], Object]] = {
    "env": _env,
    "svc": _svc,
    "ssh": _ssh,
    "tensorflow": _tensorflow,
    "pytorch": _pytorch,
    "mpi": _mpi,
    "ray": _ray,
}
