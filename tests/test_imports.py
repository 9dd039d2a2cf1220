"""What import-linter's contracts do not say: no module needs, when it runs, one that needs it."""

from __future__ import annotations

import grimp


def test_no_module_imports_itself_through_others() -> None:
    graph = grimp.build_graph("homeport", exclude_type_checking_imports=True, cache_dir=None)
    left = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}
    while done := {module for module, needed in left.items() if not needed}:
        left = {module: needed - done for module, needed in left.items() if module not in done}
    # Whoever is left is part of a circle or needs such a one.
    circle = {module for module in left if any(module in needed for needed in left.values())}
    assert not circle, f"part of a circle of imports, or between two: {sorted(circle)}"
