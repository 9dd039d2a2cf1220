"""``python -m homeport`` is the ``homeport`` command."""

from homeport.cli import main

raise SystemExit(main())
