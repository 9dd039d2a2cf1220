"""Wrong arguments: one line that says what is wrong, and where to read on."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from homeport import cli
from homeport.cli import scheduler


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["status", "x"], "homeport status: unrecognized arguments: x (see homeport status --help)"),
        (["up", "--port", "abc"], "homeport up: argument --port: 'abc' is not a port (1 to 65535)"),
        (["upp"], "homeport: argument VERB: invalid choice: 'upp'"),
        (
            ["scheduler", "save", "--namespace", "n", "f", "g"],
            "homeport scheduler: unrecognized arguments: g (see homeport scheduler --help)",
        ),
        (
            ["scheduler", "save", "--kubeconfig", "k", "--files", "f"],
            "homeport scheduler: unrecognized arguments: --files f (see homeport scheduler --help)",
        ),
        ([], "homeport: the following arguments are required: VERB"),
    ],
)
def test_wrong_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == cli.EXIT_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(words)


@pytest.mark.parametrize(
    "arguments",
    [
        ["save", "file", "--kubeconfig", "config"],
        ["save", "--kubeconfig", "config", "file"],
        ["--kubeconfig", "config", "save", "file"],
        ["replay", "--kubeconfig=config", "--scheduler-conf", "c", "file"],
    ],
)
def test_options_may_stand_between_an_action_and_its_file(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    seen = []

    def main(args: argparse.Namespace) -> int:
        seen.append((args.verb, args.action, args.file, args.kubeconfig, args.metrics_port))
        return 0

    monkeypatch.setattr(scheduler, "main", main)
    action = next(word for word in arguments if word in ("save", "replay"))
    assert cli.main(["scheduler", *arguments]) == 0
    assert seen == [("scheduler", action, Path("file"), Path("config"), 8081)]
