"""The errors of Redis: what each means, and the BackendError that leaves the client for it.

Their own texts go no further, because they can repeat arguments, and arguments can be tokens. Neighbors: `wire` raises
redis-py's errors, `client` translates them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from redis import exceptions

from controller.clients.certificates import TlsFault
from controller.clients.redis import lua
from controller.errors import Backend, BackendError, BackendRefused, BackendUnavailable, Code, Forbidden, Untrusted

RAISED: Final = (exceptions.RedisError, exceptions.RedisClusterException, OSError)

# Answers that mean "not now": the server is starting, failing over, full, or busy with another client's script.
_NOT_NOW: Final[Mapping[str, str]] = {
    "BUSY": "the script of another client holds it up",
    "CLUSTERDOWN": "a part of the cluster has no master",
    "LOADING": "it loads its data",
    "MASTERDOWN": "it is a replica, and its master is gone",
    "MISCONF": "it cannot save its data to disk",
    "NOREPLICAS": "it has too few replicas",
    "OOM": "its memory is full; raise maxmemory",
    "READONLY": "it is a replica; the address must lead to the master",
    "TRYAGAIN": "it moves the keys to another node",
    "UNBLOCKED": "it is no longer the master",
}
ANSWERS: Final = frozenset({"CLUSTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "TRYAGAIN", "UNBLOCKED"})
"""The words that concern one command: others, about another slot or without a write, may succeed."""
LEFT_AFTER: Final = frozenset({"LOADING", "MASTERDOWN", "NOAUTH", "READONLY", "UNBLOCKED"})
"""The words of a server that is not the master (yet), or that wants a password that this connection began without: the
next connection may lead to the right server, or begin with what the Secret says by now."""
# What a server says at once to a connection that it does not take, whatever the first command is.
_FULL: Final = "max number of clients reached"
_PROTECTED: Final = "running in protected mode"
_NO_CONNECTION: Final = "the connection failed; check that Redis runs and that the Redis URL is right"
_NO_WORD: Final = (
    "the server ended the connection without an answer; if it speaks TLS on this port, use rediss://, and if it has no "
    "connection left, raise maxclients"
)
# Redis asks for no password and gets one: "ERR AUTH <password> called without any password configured …".
_UNASKED_AUTH: Final = "AUTH <password> called without"
_FORBIDDEN: Final = frozenset({"NOAUTH", "NOPERM", "WRONGPASS"})
# All error words that become metric labels. Modules and scripts can answer others, so their number is not bounded.
_KNOWN_CODES: Final = (
    _NOT_NOW.keys() | _FORBIDDEN | {"ERR", "WRONGTYPE", "EXECABORT", "NOSCRIPT", "MOVED", "ASK", "CROSSSLOT"}
)
_RIGHTS: Final = "give it the rights of docs/reference/redis-rights.md"
_NO_RIGHT_IN_SCRIPT: Final = (
    "ACL failure in script",
    "can't run this command",
    "can't access at least one of the keys",
)
_COMMAND: Final = re.compile(r"run the '([\w|-]+)' command")
_CALL: Final = re.compile(r"redis\.p?call\('([A-Z]+)'")
_SCRIPTS: Final = {script.name: script.text for script in lua.ALL}
_SCRIPT_LINE: Final = re.compile(r"user_script:(\d+)")
# Redis 6 wraps what a command inside a script answered: "ERR Error running script (…): @user_script: 12: -OOM …"; 6.2
# leaves the dash out.
_SCRIPT_CODE: Final = re.compile(r"Error running script .*?: -?([A-Z]{2,20}) ")


WRONG_TYPE: Final = "WRONGTYPE"
"""The code of a refusal because a key has another type than the command needs."""

WRONG_SERVER: Final = "wrong-server"
"""The code of a refusal that only another URL can mend."""


class WrongServer(exceptions.RedisError):
    """A server that the address must not name. The text is a sentence for users and holds nothing of the URL."""


class NoWord(exceptions.ConnectionError):
    """The server ended the connection before it answered anything."""


class TlsFailed(exceptions.ConnectionError):
    """TLS could not begin, or the server ended it because of a certificate."""

    def __init__(self, fault: TlsFault) -> None:
        super().__init__(fault.code.value)
        self.fault = fault


def reply_error(text: str) -> exceptions.RedisError:
    """The error of redis-py for the error that a server answered."""
    if text.startswith("NOSCRIPT"):
        return exceptions.NoScriptError(text)
    if text.startswith(("NOAUTH", "WRONGPASS")):
        return exceptions.AuthenticationError(text)
    return exceptions.ResponseError(text)


def refuses_connection(text: str) -> bool:
    """Whether the server takes no connection of ours."""
    return _FULL in text or _PROTECTED in text


def translate(error: Exception, operation: str) -> BackendError:
    """Return what a library's error means. Its own text is left out, except the code and the line of a script."""
    if isinstance(error, WrongServer):
        return BackendRefused(Backend.REDIS, operation, str(error), code=WRONG_SERVER)
    if isinstance(error, TlsFailed):
        return Untrusted(Backend.REDIS, operation, error.fault.sentence, code=error.fault.code)
    word = error_word(error)
    code = word if word in _KNOWN_CODES else Code.OTHER
    if word in _NOT_NOW:  # before ConnectionError: LOADING is one, though the server answered
        return BackendUnavailable(
            Backend.REDIS, operation, f"the server says not now ({word}): {_NOT_NOW[word]}", code=code
        )
    if _FULL in str(error):
        sentence = "the server takes no further connection; raise maxclients, or close some"
        return BackendUnavailable(Backend.REDIS, operation, sentence, code=code)
    if _PROTECTED in str(error):
        sentence = "the server is in protected mode; give it a password or a user, or set protected-mode to no"
        return Forbidden(Backend.REDIS, operation, sentence, code=code)
    if what := _missing_right(error, word, operation):
        return Forbidden(Backend.REDIS, operation, f"the user of Redis may not {what}; {_RIGHTS}", code="NOPERM")
    shown = word or "no code"
    if (
        word in _FORBIDDEN
        or _UNASKED_AUTH in str(error)
        or isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError)
    ):
        sentence = f"the credentials are wrong or do not suffice ({shown}); check user and password in the Redis URL"
        return Forbidden(Backend.REDIS, operation, sentence, code=code)
    if isinstance(error, exceptions.ResponseError | exceptions.DataError):
        line = _SCRIPT_LINE.search(str(error))
        where = f" at line {line.group(1)} of the script" if line else ""
        return BackendRefused(Backend.REDIS, operation, f"the server refuses it ({shown}){where}", code=code)
    if isinstance(error, exceptions.TimeoutError):
        return BackendUnavailable(Backend.REDIS, operation, "no answer in time", may_have_run=True, code=Code.TIMEOUT)
    sentence = _NO_WORD if isinstance(error, NoWord) else _NO_CONNECTION
    return BackendUnavailable(Backend.REDIS, operation, sentence, may_have_run=True, code=Code.UNREACHABLE)


def _missing_right(error: Exception, word: str, operation: str) -> str:
    """What the user may not do, if that is the error. Inside a script it has other words, and often no code."""
    text = str(error)
    if word != "NOPERM" and not any(words in text for words in _NO_RIGHT_IN_SCRIPT):
        return ""
    inside = f" inside the script {operation}" if operation in _SCRIPTS else ""
    if named := _COMMAND.search(text):
        return f"run {named[1].replace('|', ' ').upper()}{inside} (NOPERM)"
    if "channel" in text:
        return f"use a channel of {operation} (NOPERM)"
    if "key" in text:
        return f"touch a key of {operation} (NOPERM)"
    return f"run {_command_at(text, operation) or 'a command'}{inside or f' for {operation}'} (NOPERM)"


def _command_at(text: str, operation: str) -> str:
    """The command that a script sends where it failed; Redis 7.0 and 6.2 tell the line only."""
    line = _SCRIPT_LINE.search(text)
    lines = _SCRIPTS.get(operation, "").splitlines()
    if line is None or not 0 < int(line[1]) <= len(lines):
        return ""
    found = _CALL.search(lines[int(line[1]) - 1])
    return found[1] if found else ""


def error_word(error: Exception) -> str:
    """Return the word in capitals that an error begins with; redis-py removes it from some messages."""
    in_script = _SCRIPT_CODE.search(str(error))
    word = in_script[1] if in_script else getattr(error, "status_code", None) or str(error).partition(" ")[0]
    return word if re.fullmatch(r"[A-Z]{2,20}", word) else ""
