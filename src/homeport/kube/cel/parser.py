"""Tokens to a tree: CEL's grammar (``doc/langdef.md`` of cel-spec), with the macros that Kubernetes has."""

from __future__ import annotations

from homeport.kube.cel.lexer import Token, string_value, tokens
from homeport.kube.cel.syntax import (
    Bind,
    Call,
    CelError,
    Ident,
    ListLiteral,
    Literal,
    Loop,
    MapLiteral,
    Message,
    Node,
    Select,
    parts,
)
from homeport.kube.cel.types import BOOL, BYTES, DOUBLE, INT, NULL, STRING, UINT
from homeport.kube.cel.values import MAX_INT, MAX_UINT, UInt

MAX_LENGTH = 100_000
"""Characters of an expression, as in cel-go."""
_MAX_DIGITS = 20
"""Of an integer that fits into 64 bits, however it is spelled."""
MAX_DEPTH = 100
"""Nesting of parentheses, calls and the like. Each level costs several frames of Python's own stack."""
_MAX_HEIGHT = 150
"""Of the tree. Chains of operators make it as high as they are long, but for ``&&`` and ``||``."""

_RESERVED = frozenset(
    {
        "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
        "namespace", "null", "package", "return", "true", "var", "void", "while",
    }
)  # fmt: skip
_BINARY: dict[str, tuple[str, int]] = {
    "||": ("_||_", 0),
    "&&": ("_&&_", 1),
    "<": ("_<_", 2),
    "<=": ("_<=_", 2),
    ">": ("_>_", 2),
    ">=": ("_>=_", 2),
    "==": ("_==_", 2),
    "!=": ("_!=_", 2),
    "in": ("@in", 2),
    "+": ("_+_", 3),
    "-": ("_-_", 3),
    "*": ("_*_", 4),
    "/": ("_/_", 4),
    "%": ("_%_", 4),
}
"""Operators with their functions and how tightly they bind."""

_LOOPS: dict[str, tuple[int, ...]] = {
    "all": (2, 3),
    "exists": (2, 3),
    "exists_one": (2, 3),
    "existsOne": (2, 3),
    "map": (2, 3),
    "filter": (2,),
    "transformList": (3, 4),
    "transformMap": (3, 4),
    "transformMapEntry": (3, 4),
}
"""Macros with a target, and how many arguments they may have."""


class _Syntax(Exception):
    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at = at


def parse(source: str) -> Node:
    """The expression's tree. Raises CelError."""
    if len(source) > MAX_LENGTH:
        words = f"expression code point size exceeds limit: size: {len(source)}, limit {MAX_LENGTH}"
        raise CelError("", [(0, words)])
    parser = _Parser(tokens(source))
    try:
        node = parser.expression()
        parser.expect("end")
    except _Syntax as error:
        raise CelError(source, [(error.at, str(error))]) from None
    if _height(node) > _MAX_HEIGHT:
        raise CelError(source, [(node.at, f"expression recursion limit exceeded: {_MAX_HEIGHT}")])
    return node


def _height(root: Node) -> int:
    highest = 0
    pending = [(root, 1)]
    while pending:
        node, height = pending.pop()
        highest = max(highest, height)
        logical = isinstance(node, Call) and node.function in ("_&&_", "_||_")
        for part in parts(node):
            flat = logical and isinstance(part, Call) and part.function == node.function  # type: ignore[attr-defined]
            pending.append((part, height if flat else height + 1))
    return highest


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._next = 0
        self._depth = 0

    # -- tokens

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _skip(self, kind: str) -> bool:
        if self._tokens[self._next].kind == kind:
            self._next += 1
            return True
        return False

    def expect(self, kind: str) -> Token:
        if self._token.kind != kind:
            raise self._unexpected(f"'{kind}'" if kind != "end" else "<EOF>")
        return self._take()

    def _unexpected(self, wanted: str) -> _Syntax:
        token = self._token
        return _Syntax(token.at, f"Syntax error: mismatched input '{token.text}' expecting {wanted}")

    # -- grammar

    def expression(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _Syntax(self._token.at, f"expression recursion limit exceeded: {MAX_DEPTH}")
        node = self._binary(0)
        if self._token.kind == "?":
            at = self._take().at
            yes = self._binary(0)
            self.expect(":")
            node = Call(at, "_?_:_", [node, yes, self.expression()])
        self._depth -= 1
        return node

    def _binary(self, loosest: int) -> Node:
        """Operands of operators that bind at least as tightly as `loosest`."""
        node = self._unary()
        while True:
            token = self._token
            function, level = _BINARY.get(token.text, ("", -1))
            if level < loosest or token.kind not in (token.text, "name"):
                return node
            self._take()
            node = Call(token.at, function, [node, self._binary(level + 1)])

    def _unary(self) -> Node:
        token = self._token
        if token.kind not in ("!", "-"):
            return self._member(self._primary())
        count = 0
        while self._skip(token.kind):
            count += 1
        if token.kind == "-" and self._token.kind in ("int", "float") and self._token.text[-1] not in "uU":
            node = self._member(self._number(self._take(), negative=True))
            count -= 1
        else:
            node = self._member(self._primary())
        return Call(token.at, "!_" if token.kind == "!" else "-_", [node]) if count % 2 else node

    def _member(self, node: Node) -> Node:
        while True:
            token = self._token
            if token.kind == ".":
                self._take()
                node = self._selection(node, token.at)
            elif token.kind == "[":
                self._take()
                optional = self._skip("?")
                index = self.expression()
                self.expect("]")
                node = Call(token.at, "_[?_]" if optional else "_[_]", [node, index])
            else:
                return node

    def _selection(self, node: Node, at: int) -> Node:
        if self._skip("?"):
            return Select(at, node, self._field(), optional=True)
        name = self._token
        field = self._field()
        if name.kind == "quoted" or self._token.kind != "(":
            if self._token.kind == "{" and name.kind == "name" and _is_path(node):
                return self._message(f"{_path(node)}.{field}", name.at)
            return Select(at, node, field)
        opening = self._take().at
        args = self._arguments()
        return self._macro(node, field, args, opening) or Call(opening, field, args, node)

    def _field(self) -> str:
        token = self._token
        if token.kind == "quoted":
            self._take()
            return token.text[1:-1]
        if token.kind != "name" or token.text in ("in", "true", "false", "null"):
            raise self._unexpected("IDENTIFIER")
        return self._take().text

    def _arguments(self) -> list[Node]:
        args: list[Node] = []
        while not self._skip(")"):
            if args:
                self.expect(",")
            args.append(self.expression())
        return args

    def _primary(self) -> Node:
        token = self._take()
        match token.kind:
            case "(":
                node = self.expression()
                self.expect(")")
                return node
            case "[":
                return self._list(token.at)
            case "{":
                return self._map(token.at)
            case "int" | "float":
                return self._number(token)
            case "text" | "raw":
                try:
                    value = string_value(token)
                except ValueError as error:
                    raise _Syntax(token.at, f"Syntax error: {error}") from None
                return Literal(token.at, value, STRING if isinstance(value, str) else BYTES)
            case "name":
                return self._name(token, absolute=False)
            case "." if self._token.kind == "name":
                return self._name(self._take(), absolute=True)
        self._next -= 1
        raise self._unexpected("an expression")

    def _name(self, token: Token, *, absolute: bool) -> Node:
        word = token.text
        if word in ("true", "false"):
            return Literal(token.at, word == "true", BOOL)
        if word == "null":
            return Literal(token.at, None, NULL)
        if word == "in":
            self._next -= 1
            raise self._unexpected("an expression")
        if word in _RESERVED:
            raise _Syntax(token.at, f"reserved identifier: {word}")
        if self._token.kind == "(":
            opening = self._take().at
            args = self._arguments()
            if word == "has" and not absolute:
                return _has(args, opening)
            return Call(opening, word, args)
        if self._token.kind == "{":
            return self._message(word, token.at)
        return Ident(token.at, word, absolute)

    def _number(self, token: Token, *, negative: bool = False) -> Node:
        text = token.text
        if token.kind == "float":
            value = float(text)
            return Literal(token.at, -value if negative else value, DOUBLE)
        unsigned = text[-1] in "uU"
        digits = text[:-1] if unsigned else text
        if len(digits.lstrip("0xX")) > _MAX_DIGITS:
            raise _Syntax(token.at, f"invalid {'uint' if unsigned else 'int'} literal")
        number = int(digits, 16 if digits[:2].lower() == "0x" else 10)
        if unsigned:
            if number > MAX_UINT:
                raise _Syntax(token.at, "invalid uint literal")
            return Literal(token.at, UInt(number), UINT)
        if number > MAX_INT + negative:
            raise _Syntax(token.at, "invalid int literal")
        return Literal(token.at, -number if negative else number, INT)

    def _list(self, at: int) -> Node:
        items: list[Node] = []
        optional: set[int] = set()
        while not self._skip("]"):
            if items:
                self.expect(",")
                if self._skip("]"):
                    break
            if self._skip("?"):
                optional.add(len(items))
            items.append(self.expression())
        return ListLiteral(at, items, frozenset(optional))

    def _map(self, at: int) -> Node:
        entries: list[tuple[Node, Node, bool]] = []
        while not self._skip("}"):
            if entries:
                self.expect(",")
                if self._skip("}"):
                    break
            optional = self._skip("?")
            key = self.expression()
            self.expect(":")
            entries.append((key, self.expression(), optional))
        return MapLiteral(at, entries)

    def _message(self, name: str, at: int) -> Node:
        self.expect("{")
        fields: list[tuple[str, Node, bool]] = []
        while not self._skip("}"):
            if fields:
                self.expect(",")
                if self._skip("}"):
                    break
            optional = self._skip("?")
            field = self._field()
            self.expect(":")
            fields.append((field, self.expression(), optional))
        return Message(at, name, fields)

    # -- macros

    def _macro(self, target: Node, name: str, args: list[Node], at: int) -> Node | None:
        if name in _LOOPS and len(args) in _LOOPS[name]:
            return _loop(target, name, args, at)
        if name in ("optMap", "optFlatMap") and len(args) == 2:
            return Bind(at, name, _variable(args[0]), target, args[1])
        if name == "bind" and len(args) == 3 and isinstance(target, Ident) and target.name == "cel":
            return Bind(at, "bind", _variable(args[0]), args[1], args[2])
        return None


def _has(args: list[Node], at: int) -> Node:
    if len(args) != 1:
        raise _Syntax(at, "invalid argument to has() macro")
    node = args[0]
    if not isinstance(node, Select) or node.optional or node.test:
        raise _Syntax(node.at, "invalid argument to has() macro")
    return Select(at, node.operand, node.field, test=True)


def _loop(target: Node, name: str, args: list[Node], at: int) -> Node:
    kind = "exists_one" if name == "existsOne" else name
    two = name.startswith("transform") or (len(args) == 3 and name != "map")
    count = 2 if two else 1
    variables = tuple(_variable(arg) for arg in args[:count])
    if two and variables[0] == variables[1]:
        raise _Syntax(args[1].at, f"duplicate variable name: {variables[1]}")
    rest = args[count:]
    if kind in ("all", "exists", "exists_one", "filter"):
        return Loop(at, kind, target, variables, rest[0], None)
    condition = rest[0] if len(rest) == 2 else None
    return Loop(at, kind, target, variables, condition, rest[-1])


def _variable(node: Node) -> str:
    if not isinstance(node, Ident) or node.absolute:
        raise _Syntax(node.at, "argument must be a simple name")
    return node.name


def _is_path(node: Node) -> bool:
    while isinstance(node, Select) and not node.test and not node.optional:
        node = node.operand
    return isinstance(node, Ident)


def _path(node: Node) -> str:
    if isinstance(node, Select):
        return f"{_path(node.operand)}.{node.field}"
    assert isinstance(node, Ident)
    return node.name


def qualified(node: Node) -> str | None:
    """``a.b.c`` as text, if the node is nothing but names; None otherwise."""
    return _path(node) if _is_path(node) else None
