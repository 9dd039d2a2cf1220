"""The files of /etc that are a pod's own."""

from __future__ import annotations

import contextlib

from homeport.node.sandbox import spec

_NAMES = (
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::0\tip6-localnet",
    "fe00::0\tip6-mcastprefix",
    "fe00::1\tip6-allnodes",
    "fe00::2\tip6-allrouters",
)
"""What the kubelet writes into every pod's hosts file."""


def files(pod: spec.Pod, address: str, server: str) -> dict[str, str]:
    """Name -> text. `address` is the pod's own, `server` the cluster's name server."""
    return {
        "hostname": f"{pod.hostname}\n",
        "hosts": hosts(pod, address),
        "resolv.conf": resolv_conf(pod, server),
    }


def hosts(pod: spec.Pod, address: str) -> str:
    """In the kubelet's form, by which tools know a hosts file that is not theirs."""
    if pod.host_network:
        text = "# Kubernetes-managed hosts file (host network).\n"
        with contextlib.suppress(OSError), open("/etc/hosts", encoding="utf-8", errors="surrogateescape") as file:
            text += file.read()
    else:
        own = f"{pod.fqdn}\t{pod.hostname}" if pod.fqdn and pod.fqdn != pod.hostname else pod.hostname
        text = "\n".join(("# Kubernetes-managed hosts file.", *_NAMES, f"{address}\t{own}")) + "\n"
    if pod.hosts:
        lines = (f"{value}\t{'	'.join(names)}" for value, names in pod.hosts.items())
        text += "\n".join(("", "# Entries added by HostAliases.", *lines)) + "\n"
    return text


def resolv_conf(pod: spec.Pod, server: str) -> str:
    lines = [f"nameserver {address}" for address in pod.nameservers or [server]]
    if pod.searches:
        lines.insert(0, f"search {' '.join(pod.searches)}")
    if pod.dns_options:
        lines.append(f"options {' '.join(pod.dns_options)}")
    return "\n".join(lines) + "\n"
