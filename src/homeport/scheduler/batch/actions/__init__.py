"""What a cycle does, one after the other: one module each, as in Volcano."""
