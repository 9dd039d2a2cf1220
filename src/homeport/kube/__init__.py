"""The Kubernetes vocabulary: pure functions and values, no I/O.

An API object is a plain JSON ``dict`` everywhere (:data:`~homeport.kube.meta.Object`), so that
fields we do not know survive.
A :class:`~homeport.kube.kind.Kind` declares one kind of object and is the only place where its fields are written down.
"""
