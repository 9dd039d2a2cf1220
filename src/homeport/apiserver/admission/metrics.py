"""What admission counts of its own work.

Names, labels and buckets are kube-apiserver's, so that dashboards and alerts for it work as they are. Upstream:
``apiserver/pkg/admission/metrics``, ``plugin/policy/validating/metrics`` and ``pod-security-admission/metrics``.
"""

from __future__ import annotations

from typing import Final, Literal

from homeport import metrics
from homeport.metrics import Buckets, Counter, Histogram

Step = Literal["admit", "validate"]
ADMIT: Final = "admit"
VALIDATE: Final = "validate"

_SECONDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5)
SHORT = _SECONDS[0]
"""What takes no longer is in the first bucket of a plug-in's durations."""
_WEBHOOK_SECONDS = (*_SECONDS, 10, 25)
_POLICY_SECONDS = (0.0000005, 0.001, 0.01, 0.1, 1.0)
_MOST_CODE = 600
"""Codes above count as this one: they are a webhook's to choose."""

CALLING, INTERNAL, NO_ERROR = "calling_webhook_error", "apiserver_internal_error", "no_error"
"""Why a webhook refuses: it could not be asked, it can't be asked that, or it said so."""


class AdmissionMetrics:
    """The families of one server."""

    def __init__(self, shown: metrics.Registry | None = None) -> None:
        """They are shown by `shown`."""
        self._step = Histogram(
            "apiserver_admission_step_admission_duration_seconds",
            "Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step "
            "type (validate or admit).",
            ("type", "operation", "rejected"),
            _SECONDS,
        )
        self._controller = Histogram(
            "apiserver_admission_controller_admission_duration_seconds",
            "Admission controller latency histogram in seconds, identified by name and broken out for each operation "
            "and API resource and type (validate or admit).",
            ("name", "type", "operation", "rejected"),
            _SECONDS,
        )
        of_webhook = ("name", "type", "operation")
        self._webhook = Histogram(
            "apiserver_admission_webhook_admission_duration_seconds",
            "Admission webhook latency histogram in seconds, identified by name and broken out for each operation and "
            "API resource and type (validate or admit).",
            (*of_webhook, "rejected"),
            _WEBHOOK_SECONDS,
        )
        self._requests = Counter(
            "apiserver_admission_webhook_request_total",
            "Admission webhook request total, identified by name and broken out for each admission type (validating or "
            "mutating) and operation, by HTTP status code and by whether the request was rejected.",
            (*of_webhook, "code", "rejected"),
        )
        self._rejections = Counter(
            "apiserver_admission_webhook_rejection_count",
            "Admission webhook rejection count, identified by name and broken out for each admission type (validating "
            "or admit) and operation, by what went wrong and by the code of the rejection.",
            (*of_webhook, "error_type", "rejection_code"),
        )
        self._fail_open = Counter(
            "apiserver_admission_webhook_fail_open_count",
            "Admission webhook fail open count, identified by name and broken out for each admission type (validating "
            "or mutating).",
            ("name", "type"),
        )
        of_condition = ("name", "kind", "type", "operation")
        self._condition_errors = Counter(
            "apiserver_admission_match_condition_evaluation_errors_total",
            "Admission match condition evaluation errors count, identified by name of resource containing the match "
            "condition and broken out for each kind containing matchConditions (webhook or policy), operation and "
            "admission type (validate or admit).",
            of_condition,
        )
        self._condition_exclusions = Counter(
            "apiserver_admission_match_condition_exclusions_total",
            "Admission match condition evaluation exclusions count, identified by name of resource containing the "
            "match condition and broken out for each kind containing matchConditions (webhook or policy), operation "
            "and admission type (validate or admit).",
            of_condition,
        )
        self._condition_seconds = Histogram(
            "apiserver_admission_match_condition_evaluation_seconds",
            "Admission match condition evaluation time in seconds, identified by name and broken out for each kind "
            "containing matchConditions (webhook or policy), operation and type (validate or admit).",
            of_condition,
            _SECONDS,
        )
        of_policy = ("policy", "policy_binding", "error_type", "enforcement_action")
        self._checks = Counter(
            "apiserver_validating_admission_policy_check_total",
            "Validation admission policy check total, labeled by policy and further identified by binding and "
            "enforcement action taken.",
            of_policy,
        )
        self._check_seconds = Histogram(
            "apiserver_validating_admission_policy_check_duration_seconds",
            "Validation admission latency for individual validation expressions in seconds, labeled by policy and "
            "further including binding and enforcement action taken.",
            of_policy,
            _POLICY_SECONDS,
        )
        of_pod = ("request_operation", "resource", "subresource")
        self.pod_evaluations = Counter(
            "pod_security_evaluations_total",
            "Number of policy evaluations that occurred, not counting ignored or exempt requests.",
            ("decision", "policy_level", "policy_version", "mode", *of_pod),
        )
        self.pod_exemptions = Counter(
            "pod_security_exemptions_total",
            "Number of exempt requests, not counting ignored or out of scope requests.",
            of_pod,
        )
        self.pod_errors = Counter(
            "pod_security_errors_total",
            "Number of errors preventing normal evaluation. Non-fatal errors may result in the latest restricted "
            "profile being used for evaluation.",
            ("fatal", *of_pod),
        )
        if shown is not None:
            shown.add(self._step, self._controller, self._webhook, self._requests, self._rejections, self._fail_open)
            shown.add(self._condition_errors, self._condition_exclusions, self._condition_seconds)
            shown.add(self._checks, self._check_seconds)
            shown.add(self.pod_evaluations, self.pod_exemptions, self.pod_errors)

    def step(self, step: Step, operation: str, *, rejected: bool) -> Buckets:
        """Where the duration of a whole step of admission goes."""
        return self._step.buckets((step, operation, _said(rejected)))

    def controller(self, name: str, step: Step, operation: str, *, rejected: bool) -> Buckets:
        """Where the duration of one plug-in's turn goes."""
        return self._controller.buckets((name, step, operation, _said(rejected)))

    def webhook_asked(self, hook: str, type: str, operation: str, seconds: float, code: int, *, rejected: bool) -> None:
        """A webhook was asked, or should have been, and `code` came of it."""
        self._requests.add((hook, type, operation, _code(code), _said(rejected)))
        self._webhook.observe((hook, type, operation, _said(rejected)), seconds)

    def webhook_refused(self, hook: str, type: str, operation: str, error: str, code: int) -> None:
        """A request was refused on behalf of a webhook."""
        self._rejections.add((hook, type, operation, error, _code(code)))

    def webhook_failed_open(self, hook: str, type: str) -> None:
        """A request went on although a webhook did not answer."""
        self._fail_open.add((hook, type))

    def conditions_evaluated(self, name: str, kind: str, step: Step, operation: str, seconds: float) -> None:
        """The match conditions of a webhook or a policy were evaluated."""
        self._condition_seconds.observe((name, kind, step, operation), seconds)

    def conditions_failed(self, name: str, kind: str, step: Step, operation: str) -> None:
        """They could not be."""
        self._condition_errors.add((name, kind, step, operation))

    def conditions_excluded(self, name: str, kind: str, step: Step, operation: str) -> None:
        """They say that the webhook or the policy is not concerned."""
        self._condition_exclusions.add((name, kind, step, operation))

    def policy_checked(self, policy: str, binding: str, error: str, action: str, seconds: float) -> None:
        """A validation of a policy had a finding, and `action` came of it."""
        labels = (policy, binding, error, action)
        self._checks.add(labels)
        self._check_seconds.observe(labels, seconds)


def _said(rejected: bool) -> str:
    return "true" if rejected else "false"


def _code(code: int) -> str:
    return str(min(code, _MOST_CODE))
