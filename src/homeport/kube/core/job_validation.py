"""Rules of jobs and cron jobs (upstream: ``pkg/apis/batch/validation``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from homeport.kube import cron, field, meta, names
from homeport.kube.core import rules
from homeport.kube.core.job_defaults import NAME_LABELS, UID_LABELS
from homeport.kube.core.pod_validation import validate_template
from homeport.kube.core.workload_validation import immutable, only_status_changed
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object
from homeport.kube.selector import from_label_selector

_MAX_PARALLELISM = 100_000
_MAX_CRON_NAME = 52
"""A cron job's jobs add 11 characters to its name, and a job's name may have 63."""
_COUNTS = (
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
)
_FIXED = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "successPolicy", "managedBy", "manualSelector")
_MAX_RULES = 20
_MAX_CODES = 255
_MANY_COMPLETIONS, _MOST_OF_MANY = 100_000, 10_000
"""Above so many completions, no more than so many may run at a time or fail, if each index has a limit of its own."""
_INDEXES_LENGTH = 64 * 1024
_MANAGER_LENGTH = 63
_STATUSES = ("False", "True", "Unknown")
_WAITING_CHANGEABLE = ("nodeSelector", "affinity", "tolerations", "schedulingGates")
"""Of the pod spec of a suspended job that has no pods."""


def validate_job(new: Object, old: Object | None) -> Iterator[FieldError]:
    if only_status_changed(new, old):
        yield from _status(meta.status(new))
        return
    spec = meta.spec(new)
    yield from _job_spec(spec, "spec")
    selector = spec.get("selector")
    labels = meta.labels(spec.get("template") or {})
    wrong: list[FieldError] = []
    if selector is None:
        yield field.required("spec.selector")
    else:
        wrong = list(rules.label_selector("spec.selector", selector))
        yield from wrong
        if not wrong and not from_label_selector(selector).matches(labels):
            words = "`selector` does not match template `labels`"
            yield field.invalid("spec.template.metadata.labels", labels, words)
    if old is None:
        yield from _hostnames(new)
        if not spec.get("manualSelector"):
            yield from _generated_labels(new, labels)
            if not wrong:
                yield from _generated_selector(new)
    else:
        yield from _update(new, old)


def _hostnames(job: Object) -> Iterator[FieldError]:
    """Pods of an indexed job are named after it and their index, and the longest name has to be one too."""
    spec, name = meta.spec(job), meta.name(job)
    if spec.get("completionMode") == "Indexed" and (spec.get("completions") or 0) > 0:
        longest = f"{name}-{spec['completions'] - 1}"
        if not rules.follows(longest, names.dns1123_label):
            words = f"will not able to create pod with invalid DNS label: {longest}"
            yield field.invalid("metadata.name", name, words)


def _generated_labels(job: Object, labels: Object) -> Iterator[FieldError]:
    """The labels that tell the pods of one job from all others are the server's to set."""
    for keys, value in ((UID_LABELS, meta.uid(job)), (NAME_LABELS, meta.name(job))):
        for key in keys:
            if labels.get(key) != value:
                yield field.invalid("spec.template.metadata.labels", labels, f"must have the label {key}={value}")


def _generated_selector(job: Object) -> Iterator[FieldError]:
    selector = from_label_selector(meta.spec(job).get("selector") or {})
    if not selector.matches({UID_LABELS[0]: meta.uid(job), UID_LABELS[1]: meta.uid(job)}):
        yield field.invalid("spec.selector", meta.spec(job).get("selector"), "`selector` not auto-generated")


def _job_spec(spec: Object, path: str) -> Iterator[FieldError]:
    for name in _COUNTS:
        yield from rules.not_negative(f"{path}.{name}", spec.get(name))
    indexed = spec.get("completionMode") == "Indexed"
    if indexed:
        if spec.get("completions") is None:
            yield field.required(f"{path}.completions", "when completion mode is Indexed")
        yield from _indexed_limits(spec, path)
    else:
        if spec.get("maxFailedIndexes") is not None:
            words = "requires indexed completion mode"
            yield field.invalid(f"{path}.maxFailedIndexes", spec["maxFailedIndexes"], words)
        if spec.get("backoffLimitPerIndex") is not None:
            words = "requires indexed completion mode"
            yield field.invalid(f"{path}.backoffLimitPerIndex", spec["backoffLimitPerIndex"], words)
        if spec.get("successPolicy") is not None:
            yield field.invalid(f"{path}.successPolicy", spec["successPolicy"], "requires indexed completion mode")
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        words = "when maxFailedIndexes is specified"
        yield field.required(f"{path}.backoffLimitPerIndex", words)
    template = spec.get("template") or {}
    yield from validate_template(template, f"{path}.template")
    policy = (template.get("spec") or {}).get("restartPolicy", "Always")
    if policy not in ("OnFailure", "Never"):
        yield field.required(f"{path}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')
    failure = spec.get("podFailurePolicy")
    if failure is not None:
        if policy == "OnFailure":
            words = 'only "Never" is supported when podFailurePolicy is specified'
            yield field.invalid(f"{path}.template.spec.restartPolicy", policy, words)
        yield from _failure_policy(f"{path}.podFailurePolicy", failure, spec)
        if spec.get("podReplacementPolicy", "Failed") != "Failed":
            wrong = spec["podReplacementPolicy"]
            yield field.not_supported(f"{path}.podReplacementPolicy", wrong, ("Failed",))
    managed = spec.get("managedBy")
    if managed is not None:
        yield from rules.domain_path(f"{path}.managedBy", managed)
        if len(managed) > _MANAGER_LENGTH:
            yield field.too_long(f"{path}.managedBy", _MANAGER_LENGTH)


def _indexed_limits(spec: Object, path: str) -> Iterator[FieldError]:
    parallelism, completions = spec.get("parallelism") or 0, spec.get("completions")
    lost = spec.get("maxFailedIndexes")
    if parallelism > _MAX_PARALLELISM:
        words = f"must be less than or equal to {_MAX_PARALLELISM} when completion mode is Indexed"
        yield field.invalid(f"{path}.parallelism", parallelism, words)
    if completions is not None and lost is not None and lost > completions:
        yield field.invalid(f"{path}.maxFailedIndexes", lost, "must be less than or equal to completions")
    if lost is not None and lost > _MAX_PARALLELISM:
        yield field.invalid(f"{path}.maxFailedIndexes", lost, f"must be less than or equal to {_MAX_PARALLELISM}")
    if (completions or 0) > _MANY_COMPLETIONS and spec.get("backoffLimitPerIndex") is not None:
        above = f"when completions are above {_MANY_COMPLETIONS} and used with backoff limit per index"
        if lost is None:
            words = f"must be specified when completions is above {_MANY_COMPLETIONS}"
            yield field.required(f"{path}.maxFailedIndexes", words)
        elif lost > _MOST_OF_MANY:
            yield field.invalid(
                f"{path}.maxFailedIndexes", lost, f"must be less than or equal to {_MOST_OF_MANY} {above}"
            )
        if parallelism > _MOST_OF_MANY:
            yield field.invalid(
                f"{path}.parallelism", parallelism, f"must be less than or equal to {_MOST_OF_MANY} {above}"
            )
    if spec.get("successPolicy") is not None:
        yield from _success_policy(f"{path}.successPolicy.rules", spec["successPolicy"], completions)


def _success_policy(path: str, policy: Object, completions: int | None) -> Iterator[FieldError]:
    found = policy.get("rules") or ()
    if not found:
        yield field.required(path, "at least one rules must be specified when the successPolicy is specified")
    if len(found) > _MAX_RULES:
        yield field.too_many(path, len(found), _MAX_RULES)
    for index, rule in enumerate(found):
        at, text, count = f"{path}[{index}]", rule.get("succeededIndexes"), rule.get("succeededCount")
        total = None
        if text is None and count is None:
            words = "at least one of succeededCount or succeededIndexes must be specified"
            yield field.required(at, words)
        if text is not None:
            try:
                total = _indexes(text, completions or 0)
            except ValueError as error:
                words = f"error parsing succeededIndexes: {error}"
                yield field.invalid(f"{at}.succeededIndexes", text, words)
        if count is None:
            continue
        yield from rules.not_negative(f"{at}.succeededCount", count)
        if completions is not None and count > completions:
            words = f"must be less than or equal to {completions} (the number of specified completions)"
            yield field.invalid(f"{at}.succeededCount", count, words)
        if total is not None and count > total:
            words = f"must be less than or equal to {total} (the number of indexes in the specified "
            yield field.invalid(f"{at}.succeededCount", count, words + "succeededIndexes field)")


def _indexes(text: str, completions: int) -> int:
    """How many indexes ``1,3-5`` names; raises ValueError for what is no such list (upstream:
    ``validateIndexesFormat``)."""
    if len(text) > _INDEXES_LENGTH:
        raise ValueError(f"must be no more than {_INDEXES_LENGTH} characters")
    total, last = 0, -1
    for fragment in text.split(",") if text else ():
        limits = fragment.split("-")
        if len(limits) > 2:
            words = "violates the pattern that an index interval can be parsed at most two parts separated by hyphen"
            raise ValueError(f'the fragment "{fragment}" {words}')
        numbers = []
        for limit in limits:
            if not (limit.isascii() and limit.isdigit() and len(limit) < 10):
                raise ValueError(f'cannot convert string to integer for index: "{limit}"')
            number = int(limit)
            if number >= completions:
                raise ValueError(f'too large index: "{limit}"')
            if number <= last:
                raise ValueError(f"non-increasing order, previous: {last}, current: {number}")
            last = number
            numbers.append(number)
        total += numbers[-1] - numbers[0] + 1
    return total


def _failure_policy(path: str, policy: Object, spec: Object) -> Iterator[FieldError]:
    template = spec.get("template") or {}
    found = policy.get("rules") or ()
    if len(found) > _MAX_RULES:
        yield field.too_many(f"{path}.rules", len(found), _MAX_RULES)
    pod = template.get("spec") or {}
    known = {c.get("name") for name in ("containers", "initContainers") for c in pod.get(name) or ()}
    for index, rule in enumerate(found):
        at = f"{path}.rules[{index}]"
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if rule.get("action") == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            yield field.invalid(f"{at}.action", "FailIndex", "requires the backoffLimitPerIndex to be set")
        if (codes is None) == (not conditions):
            words = "specifying both OnExitCodes and OnPodConditions is not supported"
            if codes is not None:
                yield field.invalid(at, rule, words)
            else:
                yield field.invalid(at, rule, "specifying one of OnExitCodes and OnPodConditions is required")
        yield from _patterns(f"{at}.onPodConditions", conditions or ())
        if codes is None:
            continue
        container, values = codes.get("containerName"), codes.get("values") or []
        if container is not None and container not in known:
            words = "must be one of the container or initContainer names in the pod template"
            yield field.invalid(f"{at}.onExitCodes.containerName", container, words)
        if not values:
            yield field.invalid(f"{at}.onExitCodes.values", values, "at least one value is required")
        if len(values) > _MAX_CODES:
            yield field.too_many(f"{at}.onExitCodes.values", len(values), _MAX_CODES)
        if sorted(values) != values:
            yield field.invalid(f"{at}.onExitCodes.values", values, "must be ordered")
        if len(set(values)) != len(values):
            yield field.duplicate(f"{at}.onExitCodes.values", values)
        if codes.get("operator") == "In" and 0 in values:
            yield field.invalid(f"{at}.onExitCodes.values", 0, "must not be 0 for the In operator")


def _patterns(path: str, patterns: Sequence[Object]) -> Iterator[FieldError]:
    if len(patterns) > _MAX_RULES:
        yield field.too_many(path, len(patterns), _MAX_RULES)
    for index, pattern in enumerate(patterns):
        yield from rules.checked(f"{path}[{index}].type", pattern.get("type") or "", names.qualified_name)
        status = pattern.get("status", "True")
        if status not in _STATUSES:
            yield field.not_supported(f"{path}[{index}].status", status, _STATUSES)


def _update(new: Object, old: Object) -> Iterator[FieldError]:
    spec, before = meta.spec(new), meta.spec(old)
    yield from immutable(new, old, "selector", *_FIXED)
    completions = spec.get("completions")
    if completions != before.get("completions"):
        if spec.get("completionMode") != "Indexed":
            yield field.invalid("spec.completions", completions, "field is immutable")
        elif completions is not None and completions != spec.get("parallelism"):
            words = "can only be modified in tandem with spec.parallelism"
            yield field.invalid("spec.completions", completions, words)
    template, former = spec.get("template"), before.get("template")
    status = meta.status(old)
    stands = meta.holds(status.get("conditions"), "Suspended") and not status.get("active")
    waiting = before.get("suspend") and (stands or not status.get("startTime"))
    if template != former and not (waiting and _placed_only(template or {}, former or {})):
        yield field.invalid("spec.template", template, "field is immutable")


def _placed_only(template: Object, former: Object) -> bool:
    """Whether two templates differ in nothing but where their pods go."""

    def rest(found: Object) -> Object:
        pod = {key: value for key, value in (found.get("spec") or {}).items() if key not in _WAITING_CHANGEABLE}
        kept = {k: v for k, v in (found.get("metadata") or {}).items() if k not in ("labels", "annotations")}
        return {**found, "metadata": kept, "spec": pod}

    return rest(template) == rest(former)


def _status(status: Object) -> Iterator[FieldError]:
    for name in ("active", "succeeded", "failed", "ready", "terminating"):
        yield from rules.not_negative(f"status.{name}", status.get(name))


def validate_cron_job(new: Object, old: Object | None) -> Iterator[FieldError]:
    if only_status_changed(new, old):
        return
    spec = meta.spec(new)
    name = meta.name(new)
    if old is None and len(name) > _MAX_CRON_NAME:
        yield field.invalid("metadata.name", name, f"must be no more than {_MAX_CRON_NAME} characters")
    yield from _schedule(spec, meta.spec(old).get("schedule") or "" if old is not None else "")
    for counted in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        yield from rules.not_negative(f"spec.{counted}", spec.get(counted))
    inner = meta.spec(spec.get("jobTemplate") or {})
    yield from _job_spec(inner, "spec.jobTemplate.spec")
    if inner.get("selector") is not None:
        yield field.invalid("spec.jobTemplate.spec.selector", inner["selector"], "`selector` will be auto-generated")
    if inner.get("manualSelector"):
        yield field.not_supported("spec.jobTemplate.spec.manualSelector", True, ("nil", "false"))


def _schedule(spec: Object, former: str) -> Iterator[FieldError]:
    """`former`: the schedule that is stored. One with a zone in it, of an older release, may go on having one."""
    text, zone = spec.get("schedule") or "", spec.get("timeZone")
    if not text:
        yield field.required("spec.schedule")
    else:
        try:
            cron.parse(text)
        except ValueError as error:
            yield field.invalid("spec.schedule", text, str(error))
        if "TZ" in text and "TZ" not in former:
            words = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            yield field.invalid("spec.schedule", text, words)
        elif "TZ" in text and zone is not None:
            words = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
            yield field.invalid("spec.schedule", text, words)
    if zone is None:
        return
    if not zone:
        yield field.invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string")
    elif zone.lower() == "local":
        yield field.invalid(
            "spec.timeZone",
            zone,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        )
    else:
        try:
            cron.zone(zone)
        except ValueError as error:
            yield field.invalid("spec.timeZone", zone, str(error))
