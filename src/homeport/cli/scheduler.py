"""``homeport scheduler``: the gang scheduler by itself, on any cluster or on what one has saved."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from homeport.cli import options
from homeport.kube.errors import Permanent

_NAMESPACE = "homeport-system"


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "scheduler",
        help="run the gang scheduler on any cluster, or replay what it has decided",
        description="Run the scheduler of groups of pods against the cluster of a kubeconfig until Ctrl-C, beside the "
        "schedulers that the cluster has. Start as many as you like: one of them acts, by a Lease.",
    )
    parser.add_argument(
        "action",
        nargs="?",
        choices=("run", "manifests", "save", "replay"),
        default="run",
        help="run it (default), print manifests of the rights it needs, save what it sees, decide about what was saved",
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="of save and replay (.gz: compressed)")
    options.add_data_dir(parser)
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="default: as kubectl; to save: this machine's")
    parser.add_argument("--context", metavar="NAME", help="context of the kubeconfig")
    parser.add_argument(
        "--namespace", metavar="NAME", default=_NAMESPACE, help=f"of the account and the lease (default: {_NAMESPACE})"
    )
    parser.add_argument(
        "--scheduler-name",
        type=_names,
        metavar="NAME[,NAME]",
        default=("homeport",),
        help="pods of these scheduler names are placed (default: homeport)",
    )
    parser.add_argument(
        "--scheduler-conf", type=Path, metavar="FILE", help="a volcano-scheduler.conf; read again when it changes"
    )
    parser.add_argument("--image", help="of manifests: also a Deployment of this image, which has Homeport in it")
    parser.add_argument(
        "--bind-address", metavar="IP", default="127.0.0.1", help="where to listen (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--metrics-port",
        type=options.port,
        metavar="N",
        default=8081,
        help="/metrics, /healthz, /livez, /readyz (8081; 0: any free)",
    )
    parser.add_argument(
        "--leader-elect", action=argparse.BooleanOptionalAction, default=True, help="whether to wait for the lease"
    )


def _names(text: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise argparse.ArgumentTypeError("no name is given")
    return found


def main(args: argparse.Namespace) -> int:
    if (args.file is not None) != (args.action in ("save", "replay")):
        raise Permanent(f"homeport scheduler {args.action} {'needs a FILE' if args.file is None else 'takes no FILE'}")
    if args.action == "replay":
        from homeport.standalone import observing

        for line in observing.replayed(args.file, args.scheduler_conf):
            print(line)
        return 0
    if args.action == "save":
        from homeport.standalone import observing

        kubeconfig = args.kubeconfig
        if kubeconfig is None and options.data_dir(args).kubeconfig.exists():
            kubeconfig = options.data_dir(args).kubeconfig
        print(observing.saved(args.file, kubeconfig, args.context))
        return 0
    from homeport.standalone import running, scheduling

    if args.action == "manifests":
        from homeport.kube import yamltext

        for manifest in scheduling.manifests(args.namespace, args.image or "", args.scheduler_name):
            sys.stdout.write("---\n" + yamltext.dump(manifest).decode())
        return 0
    chosen = scheduling.Options(
        kubeconfig=args.kubeconfig,
        context=args.context,
        names=args.scheduler_name,
        configuration=args.scheduler_conf,
        namespace=args.namespace,
        election=running.Election() if args.leader_elect else None,
        address=args.bind_address,
        metrics_port=args.metrics_port,
    )
    return scheduling.run(chosen, lambda line: print(line, flush=True))
