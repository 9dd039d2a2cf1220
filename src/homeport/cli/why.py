"""``homeport why``: in plain numbers, why a job waits."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

from homeport.cli import options
from homeport.kube.errors import Permanent


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "why",
        help="say why a job waits for its pods to be placed",
        description="Say why a job that is scheduled as a group waits: what it needs, what is idle, who holds it, what "
        "its queue may have, and its place in line. The answer is worked out anew from what the cluster shows.",
    )
    parser.add_argument(
        "job",
        metavar="JOB",
        help="a job, deployment, pod group or pod: NAME, or KIND/NAME as kubectl reads it (tfjob/a, vcjob/b, pg/c)",
    )
    options.add_data_dir(parser)
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="a job on this cluster, not on this machine")
    parser.add_argument("--context", metavar="NAME", help="the context of --kubeconfig to use")
    parser.add_argument("-n", "--namespace", metavar="NAME", help="the job's namespace")


def main(args: argparse.Namespace) -> int:
    from homeport.standalone import observing  # only this verb pays for a scheduler

    kubeconfig = args.kubeconfig
    if kubeconfig is None:
        if args.context:
            raise Permanent("--context needs --kubeconfig: a platform on this machine has one context only")
        directory = options.data_dir(args)
        if not directory.is_running():
            raise Permanent(f"no platform runs on {directory.path}: start it with homeport up, or give --kubeconfig")
        kubeconfig = directory.kubeconfig
    for line in asyncio.run(observing.why(args.job, args.namespace, kubeconfig, args.context)):
        print(line)
    return 0
