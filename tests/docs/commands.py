"""Judges commands: targets of make, commands of `roomkeeper`, modules that are run, and the flags of all of them.

Commands of other programs (kubectl, redis-cli) are left alone.
"""

import re
import shlex
from pathlib import PurePosixPath
from typing import Final

from tests.docs.known import Known, is_installed

_PROGRAMS: Final = ("roomkeeper", "kubectl-roomkeeper")
_WORD: Final = re.compile(r"[a-z][\w-]*")
_FLAGS_OF_HELM: Final = frozenset(
    {
        "--atomic",
        "--force-conflicts",
        "--reuse-values",
        "--rollback-on-failure",
        "--set",
        "--take-ownership",
        "--values",
    }
)
_PACKAGE_OF_TARGET: Final = {"bench": "benchmarks", "demo": "sandbox.demo"}


class Commands:
    """Judges commands by what is known."""

    def __init__(self, known: Known) -> None:
        self._known = known

    def problem(self, text: str) -> str | None:
        """What of a command line does not exist; None if all of it does, or if it is no command of ours."""
        try:
            words = shlex.split(text, comments=True)
        except ValueError:
            return None
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words = words[1:]
        if not words:
            return None
        program, *rest = words
        program = PurePosixPath(program).name
        if program == "make":
            return self._make(rest)
        if program == "kubectl" and rest[:1] == ["roomkeeper"]:
            return self._roomkeeper(rest[1:])
        if program in _PROGRAMS:
            return self._roomkeeper(rest)
        if program.startswith("python") and rest[:1] == ["-m"] and len(rest) > 1:
            return self._module_run(rest[1], rest[2:])
        if (program,) in self._known.commands and all(re.fullmatch(r"[\w./<>-]+", word) for word in rest):
            return self._roomkeeper(words)
        return None

    def _make(self, words: list[str]) -> str | None:
        targets = [word for word in words if _WORD.fullmatch(word)]
        if unknown := [target for target in targets if target not in self._known.targets]:
            return f"no target {unknown[0]} in the Makefile"
        arguments = next((word.partition("=")[2] for word in words if word.startswith("ARGS=")), "")
        package = _PACKAGE_OF_TARGET.get(targets[0] if targets else "")
        return self._module_run(package, shlex.split(arguments)) if package else None

    def _roomkeeper(self, words: list[str]) -> str | None:
        known = self._known.commands
        path: tuple[str, ...] = ()
        while words and (*path, words[0]) in known:
            path, words = (*path, words[0]), words[1:]
        is_group = any(other[:-1] == path for other in known)
        if is_group and words and _WORD.fullmatch(words[0]):
            return f"no command {' '.join(('roomkeeper', *path, words[0]))}"
        return self._unknown_flag(words, known[path], " ".join(("roomkeeper", *path)))

    def _module_run(self, module: str, words: list[str]) -> str | None:
        if module in self._known.modules:
            flags = self._known.program_flags
            known = flags.get(module) or flags.get(module.rpartition(".")[0], frozenset())
            return self._unknown_flag(words, known, f"python -m {module}")
        return None if is_installed(module) else f"no module {module}"

    def _unknown_flag(self, words: list[str], known: frozenset[str], program: str) -> str | None:
        flags = (word.strip("[]").partition("=")[0] for word in words)
        unknown = [flag for flag in flags if flag.startswith("--") and flag not in known and flag != "--help"]
        return f"{program} has no flag {unknown[0]}" if unknown else None

    def flag(self, flag: str) -> str | None:
        """Judges a flag that is named alone."""
        return (
            None
            if flag.partition("=")[0] in self._known.flags | _FLAGS_OF_HELM
            else f"no program of ours has a flag {flag}"
        )
