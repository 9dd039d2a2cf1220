"""Places pods on nodes: `assign` decides and is pure; `binder` carries it out."""
