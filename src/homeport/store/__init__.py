"""The object log: memory first, durable always. See :mod:`homeport.store.protocol` for what a store promises."""
