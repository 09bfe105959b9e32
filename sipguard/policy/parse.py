"""Policy text to statements: cuts a file into statements, parses each, words its syntax errors."""

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Final, NamedTuple

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from sipguard.policy import syntax
from sipguard.policy.problems import MAX_PROBLEMS, Problems, Wrong
from sipguard.policy.syntax import Place, Word

MAX_POLICY_CHARACTERS: Final = 8 << 20  # a set of half a million addresses still fits
MAX_NESTING: Final = 32  # parentheses and braces; nobody can read more
MAX_RULE_CHARACTERS: Final = 64 << 10

# What matters for where a statement ends. A pattern may hold quotes, braces and "#", and it is
# only a pattern after "matches".
_PIECE: Final = re.compile(
    r'\bmatches[ \t]+/(?:\\.|[^/\\\n])*/|#[^\n]*|"(?:\\.|[^"\\\n])*"|[{}()\n]|[^\s#"{}()]+|[^\n]'
)
_HEADS: Final = ("set", "zone", "trust", "chain", "include")
_HEAD_LINE: Final = re.compile(
    r"[ \t]*(?:(?:set|zone)[ \t]+\S+[ \t]*\{|(?:chain|trust|include)[ \t])"
)
_FIRST_WORD: Final = re.compile(r'[^\s{}()\[\]"#,<>=!/]+')
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)

_NAMES: Final = {
    "SETTING": "a setting",
    "SETNAME": "the set's name",
    "ZONENAME": "the zone's name",
    "TRUSTNAME": "aib, stir, digest, mikey or tls",
    "CHAINNAME": "the chain's name (parse, request, response or media)",
    "RULENAME": "a rule's name",
    "VERDICT": "a verdict (accept, drop, reject NNN, tolerate or open)",
    "FIELD": "a field",
    "CALLED": "a field or method",
    "VALUE": "a value",
    "MEMBER": "a member",
    "WORD": "a word",
    "WHEN": "days or times",
    "RATE": "a rate such as 1/min",
    "DURATION": "a duration such as 60s",
    "STRING": 'a "quoted text"',
    "REGEX": "a /pattern/",
    "OP": "a comparison",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "LPAR": "'('",
    "RPAR": "')'",
    "LSQB": "'['",
    "RSQB": "']'",
    "COMMA": "','",
    "$END": "the end of the line",
}
# After a field nearly everything may follow; naming it all would bury the message.
_MINOR: Final = frozenset({"LSQB", "LPAR", "COMMA", "EACH", "HAS", "WITHIN", "PRESENT"})


class Piece(NamedTuple):
    """The text of one statement and the line it starts on."""

    text: str
    line: int


def parse_policy(file: str, text: str, problems: Problems) -> Iterator[syntax.Statement]:
    """Yield the statements of one file in order; what cannot be read becomes problems."""
    start = Place(file, 1, 1)
    if len(text) > MAX_POLICY_CHARACTERS:
        problems.error(start, f"the file is larger than {MAX_POLICY_CHARACTERS >> 20} MiB")
        return
    if _has_surrogate(text):
        problems.error(start, "the file is not UTF-8 text")
        return
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    in_chain = False
    for piece in _cut(file, text, problems):
        first = _FIRST_WORD.search(piece.text)
        is_rule = in_chain and not (first and first[0] in _HEADS)
        try:
            statement = _parse_piece(file, piece, "rule" if is_rule else "statement")
        except Wrong as wrong:
            problems.add(wrong)
            # A misspelt chain must not turn its rules into a heap of unknown settings.
            in_chain = in_chain or bool(first and first[0] == "chain")
            continue
        in_chain = in_chain or isinstance(statement, syntax.ChainHead)
        yield statement


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _cut(file: str, text: str, problems: Problems) -> Iterator[Piece]:
    """Cut the text where a line ends outside braces and parentheses."""
    begin, line = 0, 1
    while begin < len(text) and len(problems.errors) < MAX_PROBLEMS:
        span = _scan(text, begin)
        if span.unclosed is None:
            if not span.blank:
                yield Piece(text[begin : span.end], line)
        else:
            opened_line = line + text.count("\n", begin, span.unclosed)
            column = span.unclosed - text.rfind("\n", 0, span.unclosed)
            problems.error(Place(file, opened_line, column), "this is never closed", span.hint)
        line += text.count("\n", begin, span.end + 1)
        begin = span.end + 1


class _Span(NamedTuple):
    """Where a statement ends; *unclosed* is where a bracket was opened and never closed."""

    end: int
    blank: bool
    unclosed: int | None = None
    hint: str = ""


def _scan(text: str, begin: int) -> _Span:
    opened: list[int] = []
    blank = True
    for found in _PIECE.finditer(text, begin):
        piece = found[0]
        if piece == "\n":
            if not opened:
                return _Span(found.start(), blank)
            if _HEAD_LINE.match(text, found.end()):
                return _recover(text, begin, opened, found.start())
            continue
        blank = blank and (piece.isspace() or piece.startswith("#"))
        if piece in "{(":
            opened.append(found.start())
            if len(opened) > MAX_NESTING:
                return _recover(text, begin, opened, len(text))
        elif piece in "})" and opened:
            opened.pop()
    return _recover(text, begin, opened, len(text)) if opened else _Span(len(text), blank)


def _recover(text: str, begin: int, opened: list[int], end: int) -> _Span:
    """Choose where reading goes on, so that one forgotten bracket is one error.

    The members of a set or zone are no statements: skip them all. A rule is one line as a
    rule (or a few), so what follows its opening line is read on its own.
    """
    at = opened[-1]
    closing = "}" if text[at] == "{" else ")"
    hint = f"a '{closing}' is missing"
    if len(opened) > MAX_NESTING:
        hint = f"braces and parentheses nest {MAX_NESTING} deep at most"
    first = _FIRST_WORD.search(text, begin)
    if not first or first[0] not in ("set", "zone"):
        line_end = text.find("\n", at)
        end = min(end, line_end) if line_end >= 0 else end
    return _Span(end, False, at, hint)


@cache
def _parser() -> Lark:
    grammar = resources.files("sipguard.policy").joinpath("grammar.lark").read_text("utf-8")
    return Lark(grammar, parser="lalr", start=["statement", "rule"], maybe_placeholders=False)


def _parse_piece(file: str, piece: Piece, start: str) -> syntax.Statement:
    if start == "rule" and len(piece.text) > MAX_RULE_CHARACTERS:
        raise Wrong(Place(file, piece.line, 1), "the rule is too long", "put long lists into a set")
    try:
        tree = _parser().parse(piece.text, start=start)
    except UnexpectedInput as error:
        raise _word(file, piece, error) from None
    reader = _Reader(file, piece.line - 1)
    return reader.rule(tree) if start == "rule" else reader.statement(tree)


def _word(file: str, piece: Piece, error: UnexpectedInput) -> Wrong:
    """Put a parser's complaint into words an admin understands."""
    text = piece.text
    position: object = getattr(error, "pos_in_stream", None)  # lark annotates it as None
    offset = position if isinstance(position, int) else 0
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        # Lark gives the last token's place; what is missing is missing after it.
        offset = len(re.sub(r"\s*(#[^\n\"]*)?\s*\Z", "", text))
    line = piece.line + text.count("\n", 0, offset)
    at = Place(file, line, offset - text.rfind("\n", 0, offset))
    if isinstance(error, UnexpectedToken):
        found = f"'{error.token}'" if error.token.type != "$END" else "the end of the line"
        return Wrong(at, f"expected {_expected(error.accepts)}, found {found}")
    if isinstance(error, UnexpectedCharacters):
        char = text[offset : offset + 1]
        if char == '"':
            return Wrong(at, "this text has no closing quote")
        if char == "/":
            return Wrong(at, "unexpected '/'", "a /pattern/ stands after matches and on one line")
        return Wrong(at, f"expected {_expected(error.allowed)}, found {char!r}")
    return Wrong(at, "cannot be read")


def _expected(terminals: "set[str] | None") -> str:
    names = set(terminals or ())
    if "OP" in names and "IN" in names:  # a field was read; the rest of the list is noise
        return "a comparison (== != < > <= >=), in, matches, and, or, or the end of the line"
    names = names - _MINOR or names
    words = sorted(_NAMES.get(name, f"'{name.lower()}'") for name in names)
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]


class _Reader:
    """Turns lark's trees into the values of ``syntax``."""

    def __init__(self, file: str, lines_before: int) -> None:
        self.file = file
        self.lines_before = lines_before

    def place(self, token: Token) -> Place:
        return Place(self.file, (token.line or 1) + self.lines_before, token.column or 1)

    def word(self, token: Token) -> Word:
        if token.type != "STRING":
            return Word(str(token), self.place(token))
        raw = token[1:-1]
        return Word(_ESCAPE.sub(r"\1", raw), self.place(token), quoted=True, raw=raw)

    def braced(self, tree: "Tree[Token]") -> syntax.Braced:
        members = tuple(
            self.word(child) if isinstance(child, Token) else self.braced(child)
            for child in tree.children
        )
        # The tree has no place of its own: braces are filtered out. The first member's will do.
        at = next((m.at for m in members), Place(self.file, 1 + self.lines_before, 1))
        return syntax.Braced(members, at)

    def statement(self, tree: "Tree[Token]") -> syntax.Statement:
        (inner,) = _trees(tree)
        names = [self.word(token) for token in _tokens(inner)]
        match inner.data:
            case "set_definition":
                return syntax.SetDefinition(names[0], self.braced(_trees(inner)[0]))
            case "zone_definition":
                return syntax.ZoneDefinition(names[0], self.braced(_trees(inner)[0]))
            case "trust":
                return syntax.TrustLine(names[0], self.values(inner))
            case "include":
                return syntax.Include(names[0])
            case "chain":
                return syntax.ChainHead(names[0])
            case _:
                return syntax.Setting(names[0], self.values(inner))

    def values(self, tree: "Tree[Token]") -> tuple[Word | syntax.Braced, ...]:
        return tuple(
            self.word(_tokens(child)[0]) if child.data == "argument" else self.braced(child)
            for child in _trees(tree)
        )

    def arguments(self, tree: "Tree[Token]") -> tuple[Word, ...]:
        return tuple(
            self.word(_tokens(child)[0]) for child in _trees(tree) if child.data == "argument"
        )

    def rule(self, tree: "Tree[Token]") -> syntax.RuleLine:
        (name,) = _tokens(tree)
        verdict = next(child for child in _trees(tree) if child.data == "verdict")
        conditions = [child for child in _trees(tree) if child.data == "condition"]
        modifiers = tuple(self.modifier(c) for c in _trees(tree) if c.data == "modifier")
        return syntax.RuleLine(
            self.word(name),
            self.word(_tokens(verdict)[0]),
            self.arguments(verdict),
            modifiers,
            self.condition(conditions[0]) if conditions else None,
        )

    def modifier(self, tree: "Tree[Token]") -> syntax.Modifier:
        words = [self.word(token) for token in _tokens(tree)]
        return syntax.Modifier(words[0], words[1] if len(words) > 1 else None)

    def condition(self, tree: "Tree[Token]") -> syntax.Condition:
        parts = tuple(self.conjunction(child) for child in _trees(tree))
        return parts[0] if len(parts) == 1 else syntax.Either(parts)

    def conjunction(self, tree: "Tree[Token]") -> syntax.Condition:
        parts = tuple(self.negation(child) for child in _trees(tree))
        return parts[0] if len(parts) == 1 else syntax.Both(parts)

    def negation(self, tree: "Tree[Token]") -> syntax.Condition:
        (atom,) = _trees(tree)
        condition = self.atom(atom)
        return syntax.Negated(condition) if len(_tokens(tree)) % 2 else condition

    def atom(self, tree: "Tree[Token]") -> syntax.Condition:
        tokens, trees = _tokens(tree), _trees(tree)
        match tree.data:
            case "group":
                return self.condition(trees[0])
            case "within":
                return syntax.Within(tuple(self.word(token) for token in tokens))
            case "present":
                return syntax.Present(self.operand(trees[0]))
            case "bare":
                return syntax.Bare(self.operand(trees[0]))
            case "compare":
                value = self.word(_tokens(trees[1])[0])
                return syntax.Compare(self.operand(trees[0]), self.word(tokens[0]), value)
            case "match":
                pattern, _, flags = str(tokens[0])[1:].rpartition("/")
                word = Word(pattern, self.place(tokens[0]))
                return syntax.Match(self.operand(trees[0]), word, flags)
            case _:
                return self.member(tree)

    def member(self, tree: "Tree[Token]") -> syntax.Condition:
        kinds = {token.type for token in _tokens(tree)}
        operand, target = _trees(tree)
        inner = target.children[0]
        found = self.word(inner) if isinstance(inner, Token) else self.braced(inner)
        member = syntax.Member(self.operand(operand), found, each="EACH" in kinds)
        return syntax.Negated(member) if "NOT" in kinds else member

    def operand(self, tree: "Tree[Token]") -> syntax.Operand:
        words = [self.word(token) for token in _tokens(tree)]
        if tree.data == "indexed":
            return syntax.Operand(words[0], subscript=words[1])
        if tree.data == "call":
            called = (tuple(self.word(t) for t in _tokens(child)) for child in _trees(tree))
            return syntax.Operand(words[0], arguments=tuple(called))
        return syntax.Operand(words[0])


def _tokens(tree: "Tree[Token]") -> list[Token]:
    return [child for child in tree.children if isinstance(child, Token)]


def _trees(tree: "Tree[Token]") -> "list[Tree[Token]]":
    return [child for child in tree.children if isinstance(child, Tree)]
