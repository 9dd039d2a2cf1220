"""Settings of the whole test suite."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes says more about the machine's other work than about the code; tests that measure do so
# themselves.
settings.register_profile("homeport", deadline=None)
settings.load_profile("homeport")
