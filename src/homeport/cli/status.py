"""``homeport status``: what runs, where, and how much of the machine it takes."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from homeport.cli import options
from homeport.cli.terminal import duration
from homeport.datadir import DataDir
from homeport.kube import core, meta
from homeport.kube.quantity import parse


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "status",
        help="say what runs",
        description="Say what runs. Exit status 0 if the platform answers, 1 if not.",
    )
    options.add_data_dir(parser)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def main(args: argparse.Namespace) -> int:
    directory = options.data_dir(args)
    report = asyncio.run(_observe(directory))
    if args.output == "json":
        print(json.dumps(report, indent=2))
    else:
        _show(directory, report)
    return 0 if report["running"] else 1


async def _observe(directory: DataDir) -> dict[str, Any]:
    if not directory.is_running():
        return {"running": False, "dataDir": str(directory.path)}
    from homeport.client.client import Client
    from homeport.client.http import HttpTransport

    endpoint = directory.endpoint()
    async with Client(HttpTransport.from_kubeconfig(directory.kubeconfig)) as client:
        nodes, pods = await asyncio.gather(client.list(core.NODE.resource), client.list(core.POD.resource))
    return {
        "running": True,
        "dataDir": str(directory.path),
        "kubeconfig": str(directory.kubeconfig),
        "endpoint": asdict(endpoint) | {"url": endpoint.url} if endpoint else {},
        "runtime": _runtime(directory),
        "memoryBytes": _proportional_memory(endpoint.pid) if endpoint else None,
        "nodes": [
            {
                "name": meta.name(node),
                "ready": meta.is_condition_true(node, "Ready"),
                "cpu": meta.status(node).get("capacity", {}).get("cpu"),
                "memory": meta.status(node).get("capacity", {}).get("memory"),
                "message": (meta.find_condition(meta.status(node).get("conditions"), "Ready") or {}).get("message", ""),
            }
            for node in nodes.items
        ],
        "pods": dict(Counter(meta.status(pod).get("phase", "Pending") for pod in pods.items)),
    }


def _runtime(directory: DataDir) -> dict[str, Any]:
    from homeport.node import choice

    chosen = choice.recorded_choice(directory.node)
    return {"name": chosen.runtime, "pods": chosen.line, "asked": chosen.asked, "reason": chosen.why}


def _proportional_memory(pid: int) -> int | None:
    """Bytes of memory that the process accounts for (PSS), or None where the kernel does not say."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


def _show(directory: DataDir, report: dict[str, Any]) -> None:
    if not report["running"]:
        print(f"no platform runs on {directory.path}: start one with `homeport up`")
        return
    endpoint = report["endpoint"]
    if endpoint:
        age = datetime.now(UTC) - meta.parse_time(endpoint["started"])
        memory = f", {report['memoryBytes'] / 2**20:.0f} MiB" if report["memoryBytes"] else ""
        print(f"platform    {endpoint['url']}, process {endpoint['pid']}, up {duration(age.total_seconds())}{memory}")
    print(f"data        {report['dataDir']}")
    print(f"kubeconfig  {report['kubeconfig']}")
    print(f"runtime     pods are {report['runtime']['pods']}")
    for node in report["nodes"]:
        memory = f"{float(parse(node['memory'])) / 2**30:.0f} GiB" if node["memory"] else "memory unknown"
        state = "ready" if node["ready"] else f"NOT READY: {node['message']}"
        print(f"node        {node['name']}: {state}, {node['cpu']} CPUs, {memory}")
    phases = ", ".join(f"{count} {phase.lower()}" for phase, count in sorted(report["pods"].items()))
    print(f"pods        {phases or 'none'}")
