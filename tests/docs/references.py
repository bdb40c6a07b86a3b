"""Finds what a text names, and says what of it does not exist.

Each rule judges one kind of name and leaves all others alone. `texts` gives the texts, `known` what exists, and
`commands` judges command lines.
"""

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import PurePosixPath
from typing import Final

from tests.docs.commands import Commands
from tests.docs.known import Known, ends_of, is_installed
from tests.docs.texts import Text

_SPAN: Final = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_LINK: Final = re.compile(r"\]\(([^()\s]+)\)")
_URL: Final = re.compile(r"\w+://\S+")
_BARE_PATH: Final = re.compile(r"(?<![\w/.*<>-])((?:\w[\w.-]*/)+\w[\w-]*\.(?:py|md|lua|yaml|toml|json))(?![\w/-])")
_SUFFIXES: Final = (".py", ".md", ".lua", ".yaml", ".toml", ".mod", ".sum")
_PATH: Final = re.compile(r"[\w./<>*-]+")
_DOTTED: Final = re.compile(r"([A-Za-z_]\w*)((?:\.\w+)+)(?:\(\))?")
_FIELD: Final = re.compile(r"[a-z]\w*(?:\[\]|\[\*\])?(?:\.[a-z][A-Za-z]*(?:\[\]|\[\*\])?)+")
_JSONPATH: Final = re.compile(r"\{\.((?:spec|status)[\w.\[\]*]*)")
_VARIABLE: Final = re.compile(r"\bROOMKEEPER_[A-Z][A-Z_]*[A-Z]\b(?![_*])")
_METRIC: Final = re.compile(r"\broomkeeper_[a-z_]*[a-z]\b")
_SAMPLES: Final = ("_bucket", "_sum", "_count", "_total", "_created")
_FLAG: Final = re.compile(r"(?<![\w-])--[a-z][\w-]*")
_TEST: Final = re.compile(r"\btest_\w+\b")
_IDENTIFIER: Final = re.compile(r"_*[a-z]+(?:_[a-z0-9]+)+(?:\(\))?|(?:[A-Z][a-z]+){2,}")
_WITHIN: Final = re.compile(r"((?:`\w+`(?:, | and )?)+) (?:in|of) \[?`([\w./]+\.py)`")
_FOREIGN: Final = {"spec.leaseTransitions": "a field of the Lease, a resource of Kubernetes"}


class References:
    """Judges texts by what is known."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._commands = Commands(known)

    def broken(self, text: Text) -> Iterator[str]:
        """Every name in the text that leads nowhere, with its file and line."""
        for position, problem in self._problems(text):
            line = text.line + text.text.count("\n", 0, position)
            yield f"{text.path}:{line}: {problem}"

    def _problems(self, text: Text) -> Iterator[tuple[int, str]]:
        words = _URL.sub(lambda url: " " * len(url[0]), text.text)
        for pattern, judge in (
            (_VARIABLE, self._variable),
            (_METRIC, self._metric),
            (_TEST, self._test),
            (_BARE_PATH, self._bare_path),
            (_JSONPATH, self._field),
        ):
            for found in pattern.finditer(words):
                if problem := judge(found[found.lastindex or 0], text):
                    yield found.start(), problem
        if text.is_shell:
            yield from self._shell(text)
            return
        for found in _SPAN.finditer(text.text):
            for problem in self._span(" ".join(found[1].split()), text):
                yield found.start(), problem
        for found in _WITHIN.finditer(text.text):
            for name in re.findall(r"`(\w+)`", found[1]):
                if name not in self._defined_in(found[2]):
                    yield found.start(), f"{found[2]} does not define {name}"
        if text.path.endswith(".md"):
            outside = _SPAN.sub(lambda span: "`" * len(span[0]), text.text)
            for found in _LINK.finditer(outside):
                if problem := self._link(found[1], text):
                    yield found.start(), problem

    def _span(self, span: str, text: Text) -> Iterator[str]:
        if "<" in span and span.startswith(("--", "python -m")):
            problem = None
        elif span.startswith("--"):
            problem = self._commands.flag(span.partition(" ")[0])
        elif " " in span:
            problem = self._commands.problem(span)
        elif "/" in span or span.endswith(_SUFFIXES):
            problem = self._path(span, text)
        elif span in _FOREIGN:
            problem = None
        elif _DOTTED.fullmatch(span):
            problem = self._name(span, text)
        elif _IDENTIFIER.fullmatch(span):
            problem = None if span.removesuffix("()") in self._known.identifiers else f"nothing is called {span}"
        else:
            problem = None
        if problem:
            yield problem

    def _shell(self, text: Text) -> Iterator[tuple[int, str]]:
        position = 0
        for line in text.text.splitlines():
            for part in re.split(r"[;|&()]+", line):
                if problem := self._commands.problem(part.strip().removeprefix("$ ").removeprefix("exec ")):
                    yield position, problem
            position += len(line) + 1

    def _link(self, target: str, text: Text) -> str | None:
        if _URL.match(target):
            return None
        path, _, anchor = target.partition("#")
        # A template is written for the page that is made of it, in docs/.
        is_template = text.path.startswith("controller/generate/")
        home = self._known.root / ("docs" if is_template else PurePosixPath(text.path).parent)
        file = home / path if path else self._known.root / text.path
        if not file.exists():
            return f"the link leads to no file: {target}"
        if anchor and anchor not in anchors(file.read_text(encoding="utf-8")):
            return f"the link leads to no heading: {target}"
        return None

    def _bare_path(self, path: str, text: Text) -> str | None:
        is_ours = path.partition("/")[0] in self._known.paths or path.endswith(".md")
        return self._path(path, text) if is_ours else None

    def _path(self, path: str, text: Text) -> str | None:
        plain = re.sub(r"<[^>]*>", "*", path.removesuffix("/"))
        if not _PATH.fullmatch(plain) or plain.startswith("/"):
            return None
        home = (self._known.root / text.path).parent
        if (home / plain).exists() or (".." in plain and (self._known.root / "docs" / plain).exists()):
            return None
        head = plain.partition("/")[0]
        is_ours = head in self._heads or (plain.endswith(_SUFFIXES) and "*" not in head)
        if not is_ours or plain in self._ends or f"{plain}.py" in self._ends:
            return None
        if "*" in plain and any(PurePosixPath(known).match(plain) for known in self._known.paths):
            return None
        return f"no file {path}"

    @cached_property
    def _ends(self) -> frozenset[str]:
        return ends_of(self._known.paths)

    @cached_property
    def _heads(self) -> frozenset[str]:
        """The first segment of what can only be a path of this repository: our directories that hold code or pages."""
        tops = {path for path in self._known.paths if "/" not in path}
        packages = {name.split(".")[1] for name in self._known.modules if name.count(".") > 1}
        return frozenset(tops | packages)

    @cached_property
    def _packages(self) -> frozenset[str]:
        """The names of the packages and modules right below our packages: `plan`, `clock`, `stack`."""
        names = (name.split(".") for name in self._known.modules)
        return frozenset(parts[1] for parts in names if len(parts) > 1 and parts[0] != "tests")

    def _variable(self, name: str, _text: Text) -> str | None:
        return None if name in self._known.variables else f"no setting {name}"

    def _metric(self, name: str, _text: Text) -> str | None:
        plain = (name.removesuffix(sample) for sample in ("", *_SAMPLES))
        known = self._known
        return None if name in known.identifiers or any(p in known.metrics for p in plain) else f"no metric {name}"

    def _test(self, name: str, _text: Text) -> str | None:
        known = self._known
        return None if name in known.identifiers or f"{name}.py" in self._ends else f"no test {name}"

    def _field(self, path: str, _text: Text) -> str | None:
        plain = re.sub(r"\[.*?\]", "", path).rstrip(".")
        return None if plain in self._field_ends else f"no field {path}"

    @cached_property
    def _field_ends(self) -> frozenset[str]:
        parts = (path.split(".") for path in self._known.fields)
        return frozenset(".".join(part[i:]) for part in parts for i in range(len(part))) | {"spec", "status"}

    def _name(self, span: str, text: Text) -> str | None:
        """A dotted name: of a module of ours, a class and its member, a field, a value of the chart, an event."""
        name = span.removesuffix("()")
        head, _, rest = name.partition(".")
        if name in self._known.event_types or (head in self._known.classes and self._has(head, rest)):
            return None
        if head in self._known.classes:
            return f"{head} has no {rest}"
        if name in self._known.values:
            return None
        if self._resolves(name, text) or name in self._field_ends:
            return None
        if head in self._packages or head in _roots(self._known):
            return f"no module {name}"
        if head in ("spec", "status"):
            return f"no field {name}"
        # LiveKit's configuration has words such as `webhook.api_key`; values are in camelCase.
        if head in self._known.values and "_" not in name:
            return f"no value {name} of the chart"
        return None

    def _has(self, name: str, rest: str) -> bool:
        member, members = rest.partition(".")[0], self._known.classes[name]
        return member in members or "*" in members or member in self._known.classes

    def _resolves(self, name: str, text: Text) -> bool:
        parts = text.path.removesuffix(".py").split("/")
        head = name.partition(".")[0]
        homes = [".".join(parts[:i]) for i in range(len(parts))] if text.path.endswith(".py") else [""]
        # A name that its own package knows is never meant for that of another one.
        is_own = parts[0] != "tests" and any(f"{home}.{head}" in self._known.modules for home in homes)
        for home in homes if is_own else (*homes, *_roots(self._known)):
            if self._is_module_or_member(f"{home}.{name}".lstrip(".")):
                return True
        return is_installed(head) and head not in self._packages

    def _is_module_or_member(self, name: str) -> bool:
        modules = self._known.modules
        parts = name.split(".")
        if name in modules:
            return True
        depth = next((i for i in range(len(parts) - 1, 0, -1) if ".".join(parts[:i]) in modules), 0)
        if depth == 0:
            return False
        first, *rest = parts[depth:]
        is_defined = first in modules[".".join(parts[:depth])].names
        return is_defined and (not rest or first not in self._known.classes or self._has(first, rest[0]))

    def _defined_in(self, path: str) -> frozenset[str]:
        ends = [known for known in self._known.trees if known == path or known.endswith(f"/{path}")]
        names = [self._known.modules[known.removesuffix(".py").replace("/", ".")] for known in ends]
        members = (member for module in names for member in module.members.values())
        return frozenset().union(*(module.names for module in names), *members)


def anchors(page: str) -> frozenset[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return frozenset(re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings)


def _roots(known: Known) -> frozenset[str]:
    return frozenset(name.partition(".")[0] for name in known.modules)
