"""Coverage-guided fuzzing of one target: ``python tests/fuzz/campaign.py TARGET [libFuzzer options] [corpus folders]``.

Runs where atheris is installed, which pytest does in an environment of its own (see ``test_targets.py``). New inputs
go to the first folder; what breaks a target goes to the working directory as ``crash-*``, ``timeout-*`` or ``oom-*``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found]

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "apiserver"))  # api_testing.py, samples.py
sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

with atheris.instrument_imports(include=["homeport", "yaml"]):
    import targets


def main() -> None:
    name, *options = sys.argv[1:]
    atheris.Setup([sys.argv[0], *options, str(targets.CORPUS / name)], lambda data: targets.check(name, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
