"""Routes for HTTP."""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeAlias

from homeport.components.gateway.common import (
    MATCH_TYPES,
    NEEDS_PORT,
    PARENT_RULES,
    TOKEN,
    BackendObjectReference,
    GatewayModel,
    HeaderFilter,
    HeaderName,
    HeaderValue,
    Hostname,
    LocalObjectReference,
    ParentReference,
    Port,
    PreciseHostname,
    RequestMirrorFilter,
    RouteStatus,
    SectionName,
    few_matches,
    not_repeated,
    only_of_type,
    rules,
    with_rules,
)
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.schema import JsonSchema
from homeport.kube.schema.fields import Marker, atomic_list, doc, map_list, set_list

_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]
_EVERYTHING = {"path": {"type": "PathPrefix", "value": "/"}}
_DURATION = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"


class HTTPRoute(GatewayModel, frozen=True):
    """Says where HTTP requests go."""

    spec: Annotated[HTTPRouteSpec, doc("Which requests go where.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    status: Annotated[RouteStatus | None, doc("The current state.")] = None


class HTTPRouteSpec(GatewayModel, frozen=True):
    """Which requests go where."""

    parent_refs: Annotated[
        list[ParentReference],
        atomic_list(),
        doc("The gateways that requests come through.", max_items=32, rules=PARENT_RULES),
    ] = []
    hostnames: Annotated[
        list[Hostname], atomic_list(), doc("Only requests for these hosts; all if empty.", max_items=16)
    ] = []
    rules: Annotated[
        list[HTTPRouteRule],
        atomic_list(),
        doc(
            "What becomes of requests, match by match.",
            min_items=1,
            max_items=16,
            default=[{"matches": [_EVERYTHING]}],
            rules=rules(few_matches("self[{0}].matches.size()")),
        ),
    ] = []


def _one_prefix(words: str, name: str, *, of_backends: bool = False) -> tuple[str, str]:
    """A prefix can be replaced only where it is known which one matched."""
    replaces = (
        f"f, has(f.{name}) && has(f.{name}.path) && f.{name}.path.type == 'ReplacePrefixMatch' && "
        f"has(f.{name}.path.replacePrefixMatch)"
    )
    does = f"has(self.filters) && self.filters.exists_one({replaces})"
    if of_backends:
        has = f"b, (has(b.filters) && b.filters.exists_one({replaces}))"
        does = f"has(self.backendRefs) && self.backendRefs.exists_one({has})"
    several = "size(self.matches) != 1 || !has(self.matches[0].path) || self.matches[0].path.type != 'PathPrefix'"
    needed = "with path.replacePrefixMatch, exactly one PathPrefix match must be specified"
    return f"{words} filter {needed}", f"({does}) ? (({several}) ? false : true) : true"


class HTTPRouteRule(GatewayModel, frozen=True):
    """What becomes of some requests."""

    __schema_extra__: ClassVar[JsonSchema] = with_rules(
        (
            "RequestRedirect filter must not be used together with backendRefs",
            "(has(self.backendRefs) && size(self.backendRefs) > 0) ? "
            "(!has(self.filters) || self.filters.all(f, !has(f.requestRedirect))) : true",
        ),
        _one_prefix("When using RequestRedirect", "requestRedirect"),
        _one_prefix("When using URLRewrite", "urlRewrite"),
        _one_prefix("Within backendRefs, when using RequestRedirect", "requestRedirect", of_backends=True),
        _one_prefix("Within backendRefs, When using URLRewrite", "urlRewrite", of_backends=True),
    )

    name: Annotated[SectionName | None, doc("Its name.")] = None
    matches: Annotated[
        list[HTTPRouteMatch],
        atomic_list(),
        doc("Which requests; one match is enough.", max_items=64, default=[_EVERYTHING]),
    ] = []
    filters: Annotated[list[HTTPRouteFilter], atomic_list(), doc("What is changed.", max_items=16, rules=_FILTERS)] = []
    backend_refs: Annotated[list[HTTPBackendRef], atomic_list(), doc("Where they go.", max_items=16)] = []
    timeouts: Annotated[HTTPRouteTimeouts | None, doc("How long it may take.")] = None


_FILTERS = rules(
    (
        "May specify either httpRouteFilterRequestRedirect or httpRouteFilterRequestRewrite, but not both",
        "!(self.exists(f, f.type == 'RequestRedirect') && self.exists(f, f.type == 'URLRewrite'))",
    ),
    *not_repeated("CORS", "RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite"),
)


def _plain(words: str, test: str) -> tuple[str, str]:
    """Of paths that are no regular expressions."""
    return f"{words} when type one of ['Exact', 'PathPrefix']", f"(self.type in ['Exact','PathPrefix']) ? {test} : true"


_CHARACTERS = r"^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$"


class HTTPPathMatch(GatewayModel, frozen=True):
    """Paths that match."""

    __schema_extra__: ClassVar[JsonSchema] = with_rules(
        _plain("value must be an absolute path and start with '/'", "self.value.startsWith('/')"),
        *(_plain(f"must not contain '{part}'", f"!self.value.contains('{part}')") for part in
          ("//", "/./", "/../", "%2f", "%2F", "#")),
        *(_plain(f"must not end with '{part}'", f"!self.value.endsWith('{part}')") for part in ("/..", "/.")),
        (
            "type must be one of ['Exact', 'PathPrefix', 'RegularExpression']",
            "self.type in ['Exact','PathPrefix'] || self.type == 'RegularExpression'",
        ),
        (
            f"must only contain valid characters (matching {_CHARACTERS}) for types ['Exact', 'PathPrefix']",
            f"(self.type in ['Exact','PathPrefix']) ? self.value.matches(r\"\"\"{_CHARACTERS}\"\"\") : true",
        ),
    )  # fmt: skip

    type: Annotated[
        str,
        doc(
            "Exact, PathPrefix (element by element) or RegularExpression.",
            enum=["Exact", "PathPrefix", "RegularExpression"],
        ),
    ] = "PathPrefix"
    value: Annotated[str, doc("The path.", max_length=1024)] = "/"


class HTTPHeaderMatch(GatewayModel, frozen=True):
    """A header that matches."""

    name: Annotated[HeaderName, doc("Its name, in which case does not matter.")]
    value: Annotated[HeaderValue, doc("Its value.")]
    type: Annotated[str, doc("How the value is compared.", enum=MATCH_TYPES)] = "Exact"


class HTTPQueryParamMatch(GatewayModel, frozen=True):
    """A parameter of the query that matches."""

    name: Annotated[HeaderName, doc("Its name.")]
    value: Annotated[str, doc("Its value.", min_length=1, max_length=1024)]
    type: Annotated[str, doc("How the value is compared.", enum=MATCH_TYPES)] = "Exact"


class HTTPRouteMatch(GatewayModel, frozen=True):
    """Requests for which all of it holds."""

    path: Annotated[HTTPPathMatch | None, doc("The path.", default=_EVERYTHING["path"])] = None
    headers: Annotated[list[HTTPHeaderMatch], map_list("name"), doc("Headers.", max_items=16)] = []
    query_params: Annotated[
        list[HTTPQueryParamMatch], map_list("name"), doc("Parameters of the query.", max_items=16)
    ] = []
    method: Annotated[str | None, doc("The method.", enum=_METHODS)] = None


class HTTPPathModifier(GatewayModel, frozen=True):
    """What becomes of the path."""

    __schema_extra__: ClassVar[JsonSchema] = with_rules(
        *(
            pair
            for kind, name in (("ReplaceFullPath", "replaceFullPath"), ("ReplacePrefixMatch", "replacePrefixMatch"))
            for pair in (
                (
                    f"{name} must be specified when type is set to '{kind}'",
                    f"self.type == '{kind}' ? has(self.{name}) : true",
                ),
                (f"type must be '{kind}' when {name} is set", f"has(self.{name}) ? self.type == '{kind}' : true"),
            )
        )
    )

    type: Annotated[
        str, doc("Whether all of it or what matched is replaced.", enum=["ReplaceFullPath", "ReplacePrefixMatch"])
    ]
    replace_full_path: Annotated[str | None, doc("The new path.", max_length=1024)] = None
    replace_prefix_match: Annotated[str | None, doc("What stands for the prefix that matched.", max_length=1024)] = None


class HTTPRequestRedirectFilter(GatewayModel, frozen=True):
    """Answers that the client shall ask somewhere else."""

    scheme: Annotated[str | None, doc("The new scheme.", enum=["http", "https"])] = None
    hostname: Annotated[PreciseHostname | None, doc("The new host.")] = None
    path: Annotated[HTTPPathModifier | None, doc("The new path.")] = None
    port: Annotated[Port | None, doc("The new port.")] = None
    status_code: Annotated[int, Marker({"type": "integer"}), doc("The status.", enum=[301, 302, 303, 307, 308])] = 302


class HTTPURLRewriteFilter(GatewayModel, frozen=True):
    """Changes requests on their way to the backend."""

    hostname: Annotated[PreciseHostname | None, doc("The new host.")] = None
    path: Annotated[HTTPPathModifier | None, doc("The new path.")] = None


_Origin: TypeAlias = Annotated[
    str,
    Marker(
        {
            "minLength": 1,
            "maxLength": 253,
            "pattern": r"(^\*$)|(^(http(s)?):\/\/(((\*\.)?([a-zA-Z0-9\-]+\.)*[a-zA-Z0-9-]+|\*)(:([0-9]{1,5}))?)$)",
        }
    ),
]
_Method: TypeAlias = Annotated[str, Marker({"enum": [*_METHODS, "*"]})]
_Token: TypeAlias = Annotated[str, Marker({"minLength": 1, "maxLength": 256, "pattern": TOKEN})]


def _alone(what: str, others: str) -> list[dict[str, str]]:
    return rules((f"{what} cannot contain '*' alongside other {others}", "!('*' in self && self.size() > 1)"))


class HTTPCORSFilter(GatewayModel, frozen=True):
    """Which pages of other sites may read answers."""

    allow_origins: Annotated[
        list[_Origin], set_list(), doc("Their origins.", max_items=64, rules=_alone("AllowOrigins", "origins"))
    ] = []
    allow_credentials: Annotated[bool | None, doc("Whether with cookies and the like.")] = None
    allow_methods: Annotated[
        list[_Method], set_list(), doc("By which methods.", max_items=9, rules=_alone("AllowMethods", "methods"))
    ] = []
    allow_headers: Annotated[
        list[_Token], set_list(), doc("With which headers.", max_items=64, rules=_alone("AllowHeaders", "methods"))
    ] = []
    expose_headers: Annotated[list[_Token], set_list(), doc("Headers that they may read.", max_items=64)] = []
    max_age: Annotated[int, doc("For how many seconds browsers remember it.", minimum=1)] = 5


_OPTIONS = (
    "cors",
    "requestHeaderModifier",
    "responseHeaderModifier",
    "requestMirror",
    "requestRedirect",
    "urlRewrite",
    "extensionRef",
)


class HTTPRouteFilter(GatewayModel, frozen=True):
    """Something that is done with requests or answers."""

    __schema_extra__: ClassVar[JsonSchema] = with_rules(*only_of_type(_OPTIONS))

    type: Annotated[
        str,
        doc(
            "What is done.",
            enum=[
                "RequestHeaderModifier",
                "ResponseHeaderModifier",
                "RequestMirror",
                "RequestRedirect",
                "URLRewrite",
                "ExtensionRef",
                "CORS",
            ],
        ),
    ]
    request_header_modifier: Annotated[HeaderFilter | None, doc("Changes the request's headers.")] = None
    response_header_modifier: Annotated[HeaderFilter | None, doc("Changes the answer's headers.")] = None
    request_mirror: Annotated[RequestMirrorFilter | None, doc("Sends the request to a further backend.")] = None
    request_redirect: Annotated[HTTPRequestRedirectFilter | None, doc("Sends the client somewhere else.")] = None
    url_rewrite: Annotated[HTTPURLRewriteFilter | None, doc("Changes host and path.")] = None
    cors: Annotated[HTTPCORSFilter | None, doc("Lets pages of other sites read answers.")] = None
    extension_ref: Annotated[LocalObjectReference | None, doc("An object that says it, of the controller's own.")] = (
        None
    )


class HTTPBackendRef(BackendObjectReference, frozen=True):
    """Where requests go, with what share of them."""

    __schema_extra__: ClassVar[JsonSchema] = with_rules(NEEDS_PORT)

    weight: Annotated[
        int, doc("Its share: weight divided by the sum of all weights.", minimum=0, maximum=1_000_000)
    ] = 1
    filters: Annotated[
        list[HTTPRouteFilter], atomic_list(), doc("What is changed for this one only.", max_items=16, rules=_FILTERS)
    ] = []


class HTTPRouteTimeouts(GatewayModel, frozen=True):
    """How long it may take."""

    __schema_extra__: ClassVar[JsonSchema] = with_rules(
        (
            "backendRequest timeout cannot be longer than request timeout",
            "!(has(self.request) && has(self.backendRequest) && duration(self.request) != duration('0s') && "
            "duration(self.backendRequest) > duration(self.request))",
        )
    )

    request: Annotated[
        str | None, doc("Until the client has the whole answer; 0s for no limit.", pattern=_DURATION)
    ] = None
    backend_request: Annotated[str | None, doc("For one attempt at a backend.", pattern=_DURATION)] = None
