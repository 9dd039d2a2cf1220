"""What Schemathesis would not know of a Kubernetes server. Imported by it, in its own environment."""

import schemathesis

NAMES = {"namespace": "default", "name": "sample"}


@schemathesis.hook
def map_query(context, query):
    """Streams never end, and a resourceVersion that has not come is waited for."""
    for key in ("watch", "follow", "resourceVersion"):
        (query or {}).pop(key, None)
    return query


@schemathesis.hook
def map_path_parameters(context, parameters):
    """Objects that there are, for every other request."""
    if parameters and len(str(sorted(parameters.items()))) % 2:
        parameters |= {key: NAMES[key] for key in NAMES if key in parameters}
    return parameters
