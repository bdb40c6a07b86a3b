"""contract/library.lua: the published scripts as a Redis function library, made from the same files.

The body of each function is the text of the script. The lines around it follow from the script's header
(`script_headers`): the function checks its one key and the number of its arguments, and builds the script's keys.
"""

from __future__ import annotations

import hashlib
from textwrap import fill, indent
from typing import Final

import contract
from controller.generate.script_headers import Header, Part, parse, sizes

_FRONT: Final = """\
#!lua name=roomkeeper
-- Made by `{command}` from the scripts beside this file; edit those instead.
--
-- library.lua: the published scripts as a function library, for Redis 7 and later and for Valkey.
--
--   redis-cli -x FUNCTION LOAD REPLACE < contract/library.lua
--   redis-cli FCALL roomkeeper_enqueue 1 'rk:{{default:calls}}:' alice tab-1
--   redis-cli FCALL roomkeeper_version 0
--
-- The one key of a request is the prefix of the pool. The function builds the keys of the script from it; they are
-- in the same hash slot. The arguments and the answers are those that the header of the script names.
"""

_GUARD: Final = """
-- Answers INVALID for a request whose key is no prefix of a pool, or whose number of arguments is wrong; else nil.
local function wrong_request(keys, args, fewest, most, expected)
  if #keys ~= 1 then
    return {'INVALID', 'expected one key, the prefix of the pool, such as rk:{default:calls}:, not '
      .. #keys .. ' keys'}
  end
  if not string.find(keys[1], '^rk:{[^{}:%s%c]+:[^{}:%s%c]+}:$') then
    return {'INVALID', 'expected the prefix of the pool as the key, rk:{<cluster id>:<namespace>}: with its braces and '
      .. 'colons, such as rk:{default:calls}:, not ' .. keys[1]}
  end
  if #args < fewest or #args > most then
    return {'INVALID', 'expected ' .. expected .. ', not ' .. #args}
  end
  return nil
end

-- In a Redis Cluster, a slot moves to another node key by key. Meanwhile Redis sends a request to the new node if the
-- old one does not have its keys, and no node has the one key of ours: only the function can see that a part of the
-- pool is elsewhere. Redis then refuses a command about two keys of which one is missing. Answers the error, or nil.
-- Redis 8 has a sentence of its own for that.
local function moving(pool)
  local answer = redis.pcall('EXISTS', pool, pool .. 'queue')
  if type(answer) ~= 'table' then
    return nil
  end
  if string.find(answer.err, 'non local key', 1, true) or string.find(answer.err, 'undeclared keys', 1, true) then
    return redis.error_reply('TRYAGAIN the pool is moving to another node of the cluster; repeat the request')
  end
  return answer
end
"""

_VERSION: Final = """
-- version: which library is loaded. Answers OK, the version of the contract, and a digest of the library's text.
redis.register_function{{function_name = 'roomkeeper_version', flags = {{'no-writes'}}, callback = function()
  return {{'OK', '{version}', '{digest}'}}
end}}
"""


def library_text(command: str) -> str:
    """The library as a file. `command` is what makes it, for the first line."""
    functions = [_function(contract.read(f"{name}.lua")) for name in contract.SCRIPTS]
    text = "\n".join((_FRONT.format(command=command), contract.read("common.lua"))) + _GUARD + "".join(functions)
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:12]
    return text + _VERSION.format(version=contract.VERSION, digest=digest)


def _function(text: str) -> str:
    """The script as a local function of its keys and arguments, and the registered function that calls it."""
    header = parse(text)
    comment, _, body = text.strip("\n").partition("\n\n")
    comment = comment.removesuffix(f"\n-- REDIS {header.redis}")
    fewest, most, step = sizes(header.args)
    names = ", ".join(f"then {arg.form}s" if arg.repeated else arg.form for arg in header.args)
    if most is None:
        fewest, expected = fewest + step, f"{fewest + step} or more arguments ({names})"
    else:
        expected = f"{most} argument{'s' if most > 1 else ''} ({names})"
    return f"""
{comment}
local function {header.name}(KEYS, ARGV)
{indent(body, "  ")}
end

redis.register_function('roomkeeper_{header.name}', function(keys, args)
  local wrong = wrong_request(keys, args, {fewest}, {"math.huge" if most is None else most}, '{expected}')
    or moving(keys[1])
  if wrong then
    return wrong
  end
{_call(header)}
end)
"""


def _call(header: Header) -> str:
    """The lines that build the script's keys and call it."""
    fixed = ", ".join(_key(header, key) for key in header.keys if not key.repeated)
    listed = fill(fixed, 112, initial_indent="    ", subsequent_indent="    ", break_long_words=False)
    lines = [f"  local pool = keys[1]\n  local names = {{\n{listed},\n  }}"]
    if repeated := [key for key in header.keys if key.repeated]:
        first = next(arg.number for arg in header.args if arg.repeated)
        added = "\n".join(f"    names[#names + 1] = {_key(header, key)}" for key in repeated)
        lines.append(f"  for n = {first}, #args do\n{added}\n  end")
    return "\n".join((*lines, f"  return {header.name}(names, args)"))


def _key(header: Header, key: Part) -> str:
    """The Lua expression for a key such as `user:<id>`, where `id` is the name of an argument."""
    stem, _, name = key.form.removesuffix(">").partition("<")
    if not name:
        return f"pool..'{stem}'"
    number = next(arg.number for arg in header.args if arg.form == name)
    return f"pool..'{stem}'..args[{'n' if key.repeated else number}]"
