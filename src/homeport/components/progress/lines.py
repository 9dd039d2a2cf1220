"""What a line of a training program's log says of its progress: epoch, step, and figures such as the loss.

Pure, and linear in the line: every repetition is bounded. Programs write figures in many ways and much else beside, so
that a figure counts only if its name has a word that training programs use for one (:data:`_WORDS`), or if somebody has
named it by a pattern.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import msgspec

from homeport.kube import regex

OFF = "off"
MOST_NAME = 64
"""Characters of a figure's name."""
MOST_LINE = 4096
"""Characters of a line that are read."""
_MOST_PATTERNS = 16
_MOST_PAIRS = 64
"""Figures of one line that are looked at."""

_NUMBER = (
    r"[+-]?(?:\d{1,18}(?:,\d{3}){0,4}(?:\.\d{1,24})?|\.\d{1,24}|\d{1,18}\.)(?:e[+-]?\d{1,3})?"
    r"|[+-]?(?:nan|inf(?:inity)?)"
)
_PAIR = re.compile(
    r"(?<![\w./@-])[\"']?"
    r"((?:(?:train(?:ing)?|val(?:id(?:ation)?)?|eval(?:uation)?|test|avg|average|mean|running|total|learning|grad)[ ])?"
    r"[a-z][\w./@-]{0,63})[\"']?"
    r"([ \t]{0,4}[=:][ \t]{0,4}|[ \t]{1,4})[\"']?(?:tensor\()?"
    rf"({_NUMBER})(?![\w]|\.\d)[ ]?(%?)",
    re.IGNORECASE | re.ASCII,
)
_RATE = re.compile(
    r"(?<![\w.])(\d{1,12}(?:,\d{3}){0,3}(?:\.\d{1,12})?)[ \t]?"
    r"(samples?|images?|imgs?|examples?|records?|tokens?|tok|sequences?|seqs?|steps?|batch(?:es)?|iter(?:ation)?s?|it)"
    r"(?:[ ]?/[ ]?|[ ]per[ ])(?:second|secs?|s)\b",
    re.IGNORECASE | re.ASCII,
)
_TIME_OF_ONE = re.compile(r"(?<![\w.])(\d{1,9}(?:\.\d{1,9})?)(us|ms|s)/(step|it)\b", re.ASCII)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_COUNT = r"[\"']?[ \t]{0,3}[=:#]?[ \t]{0,3}[\[(]?(\d{1,9})(?:\.\d{1,9})?(?![\w])(?:[ \t]?(?:/|of)[ \t]?(\d{1,9}))?"
_EPOCH = re.compile(r"(?<![\w./-])epoch" + _COUNT, re.IGNORECASE | re.ASCII)
_STEP = re.compile(r"(?<![\w./-])(?:global[_ ]?step|step|iter(?:ation)?|batch)" + _COUNT, re.IGNORECASE | re.ASCII)
_STEP_OF_EPOCH = re.compile(r"\]\[[ ]{0,8}(\d{1,9})/(\d{1,9})\]", re.ASCII)
_BAR = re.compile(r"(?:^|[|\s])(\d{1,9})/(\d{1,9})[ \t]{1,3}[\[\u2500-\u257f\u2580-\u259f]", re.ASCII)
_ROUND = re.compile(r"^\[(\d{1,9})\][ \t]", re.ASCII)
"""As XGBoost and LightGBM begin their lines."""
_LAST_NUMBER = re.compile(rf"(?<![\w.])({_NUMBER})(?![\w]|\.\d)", re.IGNORECASE | re.ASCII)
_NUMERIC = re.compile(r"[0-9]|nan|inf", re.IGNORECASE | re.ASCII)
_ANSI = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]")
_NAME = re.compile(r"[a-z][a-z0-9_./@-]{0,63}", re.ASCII)
_STRANGE = re.compile(r"[^a-z0-9_./@-]+", re.ASCII)
_BETWEEN = re.compile(r"[_./@-]+")

# fmt: off
_WORDS = frozenset({
    "acc", "accuracy", "auc", "aucpr", "bleu", "cer", "dice", "elbo", "f1", "fid", "iou", "l1", "l2",
    "logloss", "loss", "lr", "mae", "map", "mape", "merror", "mlogloss", "mse", "ndcg", "nll", "perplexity",
    "ppl", "precision", "psnr", "r2", "recall", "reward", "rmse", "rmsle", "rouge", "ssim", "throughput",
    "wer",
})
# fmt: on
_WITHOUT_SIGN = frozenset({"acc", "accuracy", "auc", "loss", "lr", "perplexity", "ppl"})
"""Words after which a number with a point may follow with nothing between."""
_IN_COMPANY = frozenset({"err", "error", "score"})
"""Words that count only behind another, as in ``train-error``."""
_NAMES = {
    "acc": "accuracy",
    "imgs": "images",
    "img": "images",
    "it": "iterations",
    "iter": "iterations",
    "iters": "iterations",
    "lr": "learning_rate",
    "ppl": "perplexity",
    "seq": "sequences",
    "seqs": "sequences",
    "tok": "tokens",
}
_BEFORE = {"training": "train", "validation": "val", "valid": "val", "evaluation": "eval"}
_RATES = re.compile(r"(samples?|images?|imgs?|examples?|tokens?|tok|steps?|it|iters?)(?:/|_per_)(?:second|secs?|s)")


class Figure(msgspec.Struct, frozen=True):
    name: str
    value: str
    """A finite number as JSON has it, or ``NaN``, ``+Inf``, ``-Inf``."""


class Said(msgspec.Struct, frozen=True):
    """What a line says."""

    figures: tuple[Figure, ...] = ()
    epoch: int | None = None
    epochs: int | None = None
    """Of how many."""
    step: int | None = None
    steps: int | None = None


_NOTHING = Said()


class Named(msgspec.Struct, frozen=True):
    """A figure that somebody has named: the last number of what the pattern matches."""

    name: str
    pattern: regex.Pattern


class Choice(msgspec.Struct, frozen=True):
    """What is to be read of a job's log."""

    is_off: bool = False
    named: tuple[Named, ...] = ()
    """If there are any, these alone; epoch and step are read all the same."""
    complaints: tuple[str, ...] = ()


def choice(annotation: str) -> Choice:
    """What the annotation says: ``off``, or lines ``name=pattern``. What is wrong with it is in the complaints."""
    if annotation.strip() == OFF:
        return Choice(is_off=True)
    named: list[Named] = []
    complaints: list[str] = []
    lines = [line.strip() for line in annotation.splitlines() if line.strip()]
    if len(lines) > _MOST_PATTERNS:
        complaints.append(f"at most {_MOST_PATTERNS} patterns are read")
    for line in lines[:_MOST_PATTERNS]:
        name, sign, pattern = line.partition("=")
        tidy = normal(name)
        if not sign or not tidy or not pattern:
            complaints.append(f"{line[:80]!r} is not {OFF!r} and not of the form name=pattern")
            continue
        try:
            named.append(Named(tidy, regex.compile_data(pattern)))
        except regex.PatternError as error:
            complaints.append(f"{tidy}: {error}"[:200])
    return Choice(named=tuple(named), complaints=tuple(complaints))


def read(line: str, chosen: Choice) -> Said:
    """What a line says; it may be any text. Of a line that was overwritten (``\\r``, ``\\b``), each writing is a line
    of its own and the caller's to divide."""
    line = line[:MOST_LINE]
    if not _NUMERIC.search(line):
        return _NOTHING
    line = _ANSI.sub("", line)
    epoch, epochs = _counted(_EPOCH.search(line))
    step, steps = _counted(_STEP.search(line) or _BAR.search(line))
    if epoch is not None and step is None:
        step, steps = _counted(_STEP_OF_EPOCH.search(line))
    found = tuple(_named(line, chosen.named) if chosen.named else _recognised(line))
    if step is None and found and (first := _ROUND.match(line)):
        step = int(first[1])
    if epoch is None and step is None and not found:
        return _NOTHING
    return Said(found, epoch, epochs, step, steps)


def normal(name: str) -> str:
    """A name as it is kept: lower case, without spaces, abbreviations written out; empty if nothing is left of it."""
    name = _STRANGE.sub("_", name.strip().lower()).strip("_./@-")
    if rate := _RATES.fullmatch(name):
        return _rate(rate[1])
    first, _, rest = name.partition("_")
    if rest:
        name = f"{_BEFORE.get(first, first)}_{_NAMES.get(rest, rest)}"
    name = _NAMES.get(name, name)[:MOST_NAME].rstrip("_./@-")
    return name if _NAME.fullmatch(name) else ""


def _counted(match: re.Match[str] | None) -> tuple[int | None, int | None]:
    if match is None:
        return None, None
    return int(match[1]), int(match[2]) if match[2] else None


def _named(line: str, named: tuple[Named, ...]) -> Iterator[Figure]:
    for each in named:
        matched = each.pattern.find(line)
        numbers = _LAST_NUMBER.findall(matched) if matched else []
        if numbers:
            yield Figure(each.name, _value(numbers[-1]))


def _recognised(line: str) -> Iterator[Figure]:
    found: dict[str, str] = {}
    for pair, _ in zip(_PAIR.finditer(line), range(_MOST_PAIRS), strict=False):
        written, sign, number, percent = pair.groups()
        name = normal(written)
        if name and _counts(name, number, is_signed=not sign.isspace()):
            found[name] = _value(number, percent=bool(percent))
    for rate in _RATE.finditer(line):
        found[_rate(rate[2].lower())] = _value(rate[1])
    for one in _TIME_OF_ONE.finditer(line):
        seconds = float(one[1]) * _SECONDS[one[2]]
        if seconds > 0:
            found[_rate(one[3])] = _text(float(f"{1 / seconds:.6g}"))
    for name, value in found.items():
        yield Figure(name, value)


def _counts(name: str, number: str, *, is_signed: bool) -> bool:
    """Whether it is a figure of training, of that name, if there is a sign between name and number."""
    if name.endswith("_per_second"):
        return is_signed
    words = _BETWEEN.split(name)
    if name in ("learning_rate", "grad_norm"):
        return is_signed or "." in number or "e" in number.lower()
    # The last word is what it is (`val_loss`); what goes before may also be it (`acc@1`, `loss/train`).
    if not is_signed:
        return any(_NAMES.get(word, word) in _WITHOUT_SIGN for word in words) and not number.lstrip("+-").isdigit()
    return not _WORDS.isdisjoint(words) or "accuracy" in name or (len(words) > 1 and words[-1] in _IN_COMPANY)


def _rate(unit: str) -> str:
    unit = _NAMES.get(unit, unit)
    return f"{unit if unit.endswith('s') else f'{unit}es' if unit == 'batch' else f'{unit}s'}_per_second"


def _value(number: str, *, percent: bool = False) -> str:
    value = float(number.replace(",", ""))
    return _text(float(f"{value / 100:.12g}") if percent else value)


def _text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
