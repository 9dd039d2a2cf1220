"""How conversion webhooks are counted, in kube-apiserver's names.

Upstream: ``apiextensions-apiserver/pkg/apiserver/conversion/metrics.go``.
"""

from __future__ import annotations

from typing import Final

from homeport import metrics
from homeport.metrics import Counter, Histogram

CALL, MALFORMED, PARTIAL, INVALID = (
    f"conversion_webhook_{what}_failure"
    for what in ("call", "malformed_response", "partial_response", "invalid_converted_object")
)
"""Why a webhook's answer is of no use."""

_CALL_SECONDS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 45, 60)
_CONVERSION_SECONDS: Final = tuple(0.001 * 2**power for power in range(15))


class ConversionMetrics:
    """The families of one server."""

    def __init__(self, shown: metrics.Registry | None = None) -> None:
        """They are shown by `shown`."""
        self._requests = Counter(
            "apiserver_conversion_webhook_request_total",
            "Counter for conversion webhook requests with success/failure and failure error type",
            ("result", "failure_type"),
        )
        self._calls = Histogram(
            "apiserver_conversion_webhook_duration_seconds",
            "Conversion webhook request latency",
            ("result", "failure_type"),
            _CALL_SECONDS,
        )
        self._conversions = Histogram(
            "apiserver_crd_conversion_webhook_duration_seconds",
            "CRD webhook conversion duration in seconds",
            ("crd_name", "from_version", "to_version", "succeeded"),
            _CONVERSION_SECONDS,
        )
        if shown is not None:
            shown.add(self._requests, self._calls, self._conversions)

    def asked(self, definition: str, before: str, after: str, seconds: float, failure: str = "") -> None:
        """A webhook took `seconds` to convert objects of `definition` from one version to another; `failure` is one of
        those above, or empty."""
        labels = ("failure" if failure else "success", failure)
        self._requests.add(labels)
        self._calls.observe(labels, seconds)
        self._conversions.observe((definition, before, after, "false" if failure else "true"), seconds)
