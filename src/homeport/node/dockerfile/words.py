"""Words of a Dockerfile: quotes, escapes and ``$VARIABLES``. Pure.

As a shell's, for the forms that Docker's reference names: ``$name``, ``${name}``, ``${name:-word}``,
``${name:+word}``, ``${name:?message}``, the same without the colon, ``${name#pattern}``, ``##``, ``%``, ``%%``,
``${name/old/new}``, ``//``.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?!$-]")


class WordError(ValueError):
    """A word can't be read; the text says why."""


def expand(text: str, values: Mapping[str, str], escape: str = "\\") -> str:
    """A word without its quotes, variables replaced. Unknown ones are empty. Raises WordError."""
    return _Expansion(text, values, escape).whole()


class _Expansion:
    def __init__(self, text: str, values: Mapping[str, str], escape: str) -> None:
        self._text = text
        self._values = values
        self._escape = escape
        self._at = 0

    def whole(self) -> str:
        return self._until("")

    def _until(self, stop: str) -> str:
        result: list[str] = []
        while self._at < len(self._text):
            character = self._text[self._at]
            if character == stop:
                self._at += 1
                return "".join(result)
            self._at += 1
            if character == "'":
                result.append(self._quoted())
            elif character == '"':
                result.append(self._double())
            elif character == "$":
                result.append(self._variable())
            elif character == self._escape and self._at < len(self._text):
                result.append(self._text[self._at])
                self._at += 1
            elif character != self._escape:
                result.append(character)
        if stop:
            raise WordError(f"syntax error: missing {stop!r} in {self._text!r}")
        return "".join(result)

    def _quoted(self) -> str:
        end = self._text.find("'", self._at)
        if end < 0:
            raise WordError(f"unexpected end of statement while looking for matching single-quote in {self._text!r}")
        inside, self._at = self._text[self._at : end], end + 1
        return inside

    def _double(self) -> str:
        result: list[str] = []
        while self._at < len(self._text):
            character = self._text[self._at]
            self._at += 1
            if character == '"':
                return "".join(result)
            if character == "$":
                result.append(self._variable())
            elif character == self._escape:
                following = self._text[self._at : self._at + 1]
                if following in ('"', "$", self._escape) and following:
                    result.append(following)
                    self._at += 1
                else:
                    result.append(character)
            else:
                result.append(character)
        raise WordError(f"unexpected end of statement while looking for matching double-quote in {self._text!r}")

    def _variable(self) -> str:
        if self._text.startswith("{", self._at):
            self._at += 1
            return self._braces()
        match = _NAME.match(self._text, self._at)
        if match is None:
            return "$"
        self._at = match.end()
        return self._values.get(match[0], "")

    def _braces(self) -> str:
        match = _NAME.match(self._text, self._at)
        if match is None:
            raise WordError(f"bad substitution in {self._text!r}")
        name, self._at = match[0], match.end()
        operator = next((o for o in (":-", ":+", ":?", "##", "%%", "//", "-", "+", "?", "#", "%", "/", "}")
                         if self._text.startswith(o, self._at)), "")  # fmt: skip
        if not operator:
            raise WordError(f"unsupported modifier in substitution: {self._text!r}")
        self._at += len(operator)
        value = self._values.get(name)
        if operator == "}":
            return value or ""
        if operator in ("/", "//"):
            old, new = self._until("/"), self._until("}")
            expression = re.compile(fnmatch.translate(old).removesuffix(r"\Z").removesuffix(r"\z"))
            return expression.sub(lambda _: new, value or "", count=0 if operator == "//" else 1)
        return _modified(name, value, operator, self._until("}"))


def _modified(name: str, value: str | None, operator: str, word: str) -> str:
    is_there = bool(value) if operator.startswith(":") else value is not None
    match operator.lstrip(":"):
        case "-":
            return value or "" if is_there else word
        case "+":
            return word if is_there else ""
        case "?":
            if not is_there:
                raise WordError(f"{name}: {word or 'not set'}")
            return value or ""
    return _trimmed(value or "", operator, word)


def _trimmed(value: str, operator: str, pattern: str) -> str:
    lengths = range(len(value) + 1)
    for length in reversed(lengths) if len(operator) == 2 else lengths:
        part = value[:length] if operator[0] == "#" else value[len(value) - length :]
        if fnmatch.fnmatchcase(part, pattern):
            return value[length:] if operator[0] == "#" else value[: len(value) - length]
    return value


def split(text: str, escape: str = "\\") -> list[str]:
    """Words between white space that is not in quotes, still with their quotes."""
    words: list[str] = []
    current, quote, index, inside = "", "", 0, False
    while index < len(text):
        character = text[index]
        if character == escape and quote != "'" and index + 1 < len(text):
            current += text[index : index + 2]
            inside, index = True, index + 2
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character.isspace():
            if inside:
                words.append(current)
            current, inside, index = "", False, index + 1
            continue
        current, inside, index = current + character, True, index + 1
    return [*words, current] if inside else words


def json_words(text: str) -> list[str] | None:
    """The words of the JSON form; None if it is the shell's."""
    if not text.startswith("["):
        return None
    try:
        value: Any = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, list) and all(isinstance(word, str) for word in value) else None


def pairs(text: str, replace: Callable[[str], str], escape: str) -> list[tuple[str, str]]:
    """The names and values of ``ENV`` and ``LABEL``: ``name=value ...``, or the old form ``name value``. Raises
    WordError."""
    words = split(text, escape)
    if not words:
        raise WordError("requires at least one argument")
    if "=" not in words[0]:
        name, _, value = text.partition(" ")
        if not value.strip():
            raise WordError(f"{name} must have two arguments")
        return [(replace(name), replace(value.strip()))]
    result = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise WordError(f"Syntax error - can't find = in {word!r}. Must be of the form: name=value")
        if not replace(name):
            raise WordError("names can not be blank")
        result.append((replace(name), replace(value)))
    return result
