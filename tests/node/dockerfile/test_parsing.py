"""Dockerfiles as text: lines, words, instructions, stages, what is ignored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.node.dockerfile import mounts
from homeport.node.dockerfile.instructions import parse
from homeport.node.dockerfile.lexing import DockerfileError, lex
from homeport.node.dockerfile.words import WordError, expand, pairs, split
from homeport.node.layers.ignore import Ignore, read


def test_lines_are_joined_and_comments_left_out() -> None:
    text = "# comment\nFROM a\n\nRUN one \\\n  # inside\n\n  two \\  \n three\nrun\tfour\n"
    assert [(line.number, line.keyword, line.rest) for line in lex(text).lines] == [
        (2, "FROM", "a"),
        (4, "RUN", "one   two  three"),
        (9, "RUN", "four"),
    ]


def test_another_escape_character() -> None:
    found = parse("# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN dir `\n C:\\x\nENV A=`$B\n")
    assert found.escape == "`"
    assert found.stages[0].instructions[0].rest == "dir  C:\\x"
    # After anything else it is a comment.
    assert parse("FROM a\n# escape=`\nRUN x \\\n y\n").stages[0].instructions[0].rest == "x  y"


def test_heredocs() -> None:
    text = 'FROM a\nRUN <<EOF cat <<-"TAB" > x\none $A\nEOF\n\ttwo $A\n\tTAB\nRUN last\n'
    run, last = parse(text).stages[0].instructions
    assert [(h.name, h.content, h.expands) for h in run.heredocs] == [
        ("EOF", "one $A\n", True),
        ("TAB", "two $A\n", False),
    ]
    assert (last.line, last.rest) == (7, "last")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file with no instructions"),
        ("RUN x", "line 1: no build stage in current context"),
        ("FROM a\nRUM x", "line 2: unknown instruction: RUM"),
        ("FROM a\nRUN", "line 2: RUN requires at least one argument"),
        ("FROM a b", "line 1: FROM requires either one or three arguments"),
        ("FROM a AS x\nFROM b AS X", "line 2: duplicate name x"),
        ("FROM a\nRUN <<EOF\nx", "line 2: unterminated heredoc EOF"),
        ("# escape=x\nFROM a", "line 1: invalid ESCAPE 'x'"),
        ("FROM a\nCOPY --chwon=1 a b", "line 2: unknown flag: --chwon; there are --chmod, --chown"),
        ("FROM a\nCOPY --chown=1 --chown=2 a b", "line 2: duplicate flag specified: --chown"),
        ("FROM a\nSHELL sh", "line 2: SHELL requires the arguments to be in JSON form"),
        ("FROM a\nONBUILD FROM b", "line 2: FROM isn't allowed as an ONBUILD trigger"),
    ],
)
def test_mistakes_have_their_line(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(text)
    assert str(caught.value).startswith(message)


def test_stages_by_name_and_number() -> None:
    found = parse("ARG V=1\nFROM a:$V AS One\nRUN x\nFROM one\nFROM --platform=linux/amd64 scratch AS last\n")
    assert [(s.base, s.name, s.platform, len(s.instructions)) for s in found.stages] == [
        ("a:$V", "one", "", 1),
        ("one", "", "", 0),
        ("scratch", "last", "linux/amd64", 0),
    ]
    assert found.stage("ONE", 3) is found.stages[0]
    assert found.stage("1", 3) is found.stages[1]
    assert found.stage("2", 2) is None


VALUES = {"A": "a", "EMPTY": "", "PATH": "/x/y/z.tar.gz"}


@pytest.mark.parametrize(
    ("word", "result"),
    [
        ("plain", "plain"),
        ("$A${A}b$NONE", "aab"),
        ("'$A'\"$A\"", "$Aa"),
        (r"\$A", "$A"),
        (r'"\$A \" \n"', r'$A " \n'),
        ("${NONE:-d$A}", "da"),
        ("${EMPTY:-d}${EMPTY-d}", "d"),
        ("${A:+set}${NONE:+set}${EMPTY+set}", "setset"),
        ("${A:?gone}", "a"),
        ("${PATH#*/}", "x/y/z.tar.gz"),
        ("${PATH##*/}", "z.tar.gz"),
        ("${PATH%.*}", "/x/y/z.tar"),
        ("${PATH%%.*}", "/x/y/z"),
        ("${PATH/x/q}", "/q/y/z.tar.gz"),
        ("${PATH//\\//-}", "-x-y-z.tar.gz"),
        ("a$", "a$"),
    ],
)
def test_words(word: str, result: str) -> None:
    assert expand(word, VALUES) == result


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("${A", "missing '}'|unsupported"),
        ("'x", "single-quote"),
        ('"x', "double-quote"),
        ("${NONE:?it is needed}", "NONE: it is needed"),
        ("${A^}", "unsupported modifier"),
        ("${}", "bad substitution"),
    ],
)
def test_words_that_are_wrong(word: str, message: str) -> None:
    with pytest.raises(WordError, match=message):
        expand(word, VALUES)


@given(st.text(max_size=60))
def test_no_text_is_more_than_refused(text: str) -> None:
    for read_it in (lambda: expand(text, VALUES), lambda: split(text), lambda: parse(f"FROM a\nRUN {text}\n{text}")):
        try:
            read_it()
        except (WordError, DockerfileError):
            continue


@given(st.text(alphabet=st.characters(blacklist_characters="'\"$\\"), max_size=40))
def test_words_without_special_characters_stay(text: str) -> None:
    assert expand(text, {}) == text


def test_names_and_values() -> None:
    def replace(text: str) -> str:
        return expand(text, VALUES)

    assert pairs("A=1 B=\"two words\" C=x\\ y D='$A' E=$A", replace, "\\") == [
        ("A", "1"),
        ("B", "two words"),
        ("C", "x y"),
        ("D", "$A"),
        ("E", "a"),
    ]
    assert pairs("OLD the whole  rest", replace, "\\") == [("OLD", "the whole  rest")]
    with pytest.raises(WordError, match="can't find = in 'b'"):
        pairs("a=1 b", replace, "\\")


def test_mounts_of_steps() -> None:
    assert mounts.parse("type=cache,target=/root/.cache,sharing=locked").id == "/root/.cache"
    assert mounts.parse("type=secret,id=token").target == "/run/secrets/token"
    assert mounts.parse("source=a,dst=/b").read_only
    assert not mounts.parse("type=bind,src=a,target=/b,rw").read_only
    for text, message in (
        ("type=ssh", "not supported"),
        ("type=x,target=/a", "the type must be"),
        ("type=cache", "target is required"),
        ("type=tmpfs,target=/a,id=b", "unexpected key 'id'"),
    ):
        with pytest.raises(ValueError, match=message):
            mounts.parse(text)


@pytest.mark.parametrize(
    ("lines", "out", "kept"),
    [
        ("*.log\n# comment\n", ["a.log"], ["d/a.log", "a.txt"]),
        ("**/*.log", ["a.log", "d/e/a.log"], ["a.txt"]),
        ("dir", ["dir", "dir/x/y"], ["dir2", "a/dir"]),
        ("/dir/", ["dir/x"], []),
        ("*\n!keep\n!dir/keep", ["a", "dir/b"], ["keep", "keep/x", "dir/keep"]),
        ("a?c\n[d-f]*", ["abc", "exit"], ["abbc", "gone"]),
        ("!x\nx", ["x"], []),
        ("docs/**/*.md", ["docs/a.md", "docs/x/y.md"], ["README.md"]),
        (r"\#name", ["#name"], ["name"]),
    ],
)
def test_what_is_ignored(lines: str, out: list[str], kept: list[str]) -> None:
    ignore = Ignore(read(lines))
    assert [path for path in out if not ignore.leaves_out(path)] == []
    assert [path for path in kept if ignore.leaves_out(path)] == []
