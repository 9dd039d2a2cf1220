"""Wrong arguments: one line that says what is wrong, and where to read on."""

from __future__ import annotations

import pytest

from homeport import cli


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["status", "x"], "homeport status: unrecognized arguments: x (see homeport status --help)"),
        (["up", "--port", "abc"], "homeport up: argument --port: 'abc' is not a port (1 to 65535)"),
        (["upp"], "homeport: argument VERB: invalid choice: 'upp'"),
        ([], "homeport: the following arguments are required: VERB"),
    ],
)
def test_wrong_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == cli.EXIT_USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(words)
