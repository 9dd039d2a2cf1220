"""What happens to an object between a request's body and the store.

In order: decode, check that it is what the path says, drop or refuse unknown fields (`body`); take over what only the
server may set, default, prepare (`objects`: a draft); mutating plug-ins, then mutating webhooks (`chain`); default what
they changed, validate, count the generation, note the field managers (`objects`: finishing a draft); validating
plug-ins, policies, webhooks (`chain`).
"""

from __future__ import annotations

from homeport.apiserver.admission.attributes import (
    CONNECT,
    CREATE,
    DELETE,
    UPDATE,
    Attributes,
    Operation,
    attributes_of,
)
from homeport.apiserver.admission.body import (
    check_fields,
    check_type,
    finds_duplicates,
    read_object,
    read_whole,
    unmarshal_errors,
)
from homeport.apiserver.admission.chain import Chain, Stage
from homeport.apiserver.admission.objects import (
    Draft,
    draft_create,
    draft_update,
    finish_create,
    finish_update,
    without_empty_metadata,
)
from homeport.apiserver.admission.plugin import Plugin

__all__ = [
    "CONNECT",
    "CREATE",
    "DELETE",
    "UPDATE",
    "Attributes",
    "Chain",
    "Draft",
    "Operation",
    "Plugin",
    "Stage",
    "attributes_of",
    "check_fields",
    "check_type",
    "draft_create",
    "draft_update",
    "finds_duplicates",
    "finish_create",
    "finish_update",
    "read_object",
    "read_whole",
    "unmarshal_errors",
    "without_empty_metadata",
]
