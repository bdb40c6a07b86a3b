-- common.lua: the first part of every script, also of the operator's. Each script answers with a flat array of strings;
-- the first word says what happened. A script makes all its checks before its first write, so a refused request
-- changes nothing.

-- tostring() would round a number to 14 digits.
local function whole(number)
  return string.format('%.0f', number)
end

-- An argument as a number of 1 or more; nil for all else. tonumber() also reads nan, inf and 1e300, which Redis would
-- refuse in the middle of a script.
local function at_least_one(argument)
  local value = tonumber(argument or '')
  return value and value >= 1 and value < 2 ^ 53 and value or nil
end

-- Every place in the queue comes from this clock. With two clocks, some users would jump the queue.
local function server_ms()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

-- The answer INVALID if one of the keys is not the one that belongs in its place, and nil if all are right: two keys in
-- the wrong order would spoil the pool for all its users. `names` are the expected keys without the pool's prefix.
local function misplaced(keys, names)
  local pool = string.match(keys[1], '^rk:{[^{}:%s%c]+:[^{}:%s%c]+}:')
  if not pool then
    return {'INVALID', 'expected keys that begin with the prefix of a pool, rk:{<cluster id>:<namespace>}: with its '
      .. 'braces and colons, such as rk:{default:calls}:' .. names[1] .. ', not ' .. keys[1]}
  end
  for n, name in ipairs(names) do
    if keys[n] ~= pool .. name then
      return {'INVALID', 'expected the key ' .. pool .. name .. ' as number ' .. n .. ', not ' .. keys[n]}
    end
  end
  return nil
end

-- HGET and HMGET answer false for a missing field.
local function text(value)
  return value or ''
end

-- Every character beyond ASCII is replaced by its kind of sequence; what is left of the bytes beyond ASCII is none.
-- Overlong forms, surrogates and code points above U+10FFFF are not UTF-8.
local UTF8 = {'[\194-\223][\128-\191]', '\224[\160-\191][\128-\191]', '[\225-\236\238\239][\128-\191][\128-\191]',
  '\237[\128-\159][\128-\191]', '\240[\144-\191][\128-\191][\128-\191]',
  '[\241-\243][\128-\191][\128-\191][\128-\191]', '\244[\128-\143][\128-\191][\128-\191]'}

local function is_utf8(value)
  for _, sequence in ipairs(UTF8) do
    value = string.gsub(value, sequence, '?')
  end
  return not string.find(value, '[\128-\255]')
end

-- A reservation is stored as '<place in the queue> <name of the Match>', so that claim, release and leave need not read
-- the user for it.
local function reservation(reservations, id)
  local entry = redis.call('HGET', reservations, id)
  if not entry then
    return nil
  end
  return string.match(entry, '^(%S+) (.*)$')
end

local function cancel_reservation(reserved, reservations, id)
  redis.call('ZREM', reserved, id)
  redis.call('HDEL', reservations, id)
end

-- A waiting user's place, and the name of the Match they are reserved for (nil for a user in the queue itself). A
-- reservation past its deadline no longer counts, even if release has not put the user back yet.
local function place(queue, reserved, reservations, id)
  local score = redis.call('ZSCORE', queue, id)
  if score then
    return score
  end
  local kept, name = reservation(reservations, id)
  if not kept then
    return nil
  end
  local deadline = redis.call('ZSCORE', reserved, id)
  if not deadline or tonumber(deadline) <= server_ms() then
    return kept
  end
  return kept, name
end

-- Notices and events (docs/events.md). The script that makes a change also writes its entries, so each change is told
-- exactly once. Entries are written last: if a stream cannot be written, the change itself is complete, and the same
-- request again is a replay.

local NOTICES, NOTICES_TTL_MS = 50, 300000
local EVENTS, DAY_MS = 100000, 86400000

local function notify(notices, at, kind, ...)
  redis.call('XADD', notices, 'MAXLEN', NOTICES, '*', 'type', kind, 'at', at, ...)
  redis.call('PEXPIRE', notices, NOTICES_TTL_MS)
end

-- Adds an entry to a stream that any service may follow. The stream keeps about `at_most` entries, and none older than
-- a day. The age is checked for one entry in ten: most of the time nothing is old enough.
local function publish(stream, at_most, ...)
  local id = redis.call('XADD', stream, 'MAXLEN', '~', at_most, '*', ...)
  if string.sub(id, 13, 13) == '0' then
    redis.call('XTRIM', stream, 'MINID', '~', whole(string.match(id, '^%d+') - DAY_MS))
  end
end

-- Text as it stands between the quotation marks of JSON. cjson does not write the whole event: it changes the order of
-- fields and cannot tell an empty list from an empty object.
local function escaped(value)
  return string.sub(cjson.encode(value), 2, -2)
end

local function number(value)
  return value and value ~= '' and value or 'null'
end

-- RFC 3339 in UTC. The computed year begins in March, so that a leap day is its last day.
local function rfc3339(ms)
  local days = math.floor(ms / DAY_MS)
  local shifted = days + 719468
  local era = math.floor(shifted / 146097)
  local day = shifted - era * 146097
  local year = math.floor((day - math.floor(day / 1460) + math.floor(day / 36524) - math.floor(day / 146096)) / 365)
  local day_of_year = day - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local month = math.floor((5 * day_of_year + 2) / 153)
  local seconds = math.floor((ms - days * DAY_MS) / 1000)
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%03dZ', year + era * 400 + (month >= 10 and 1 or 0),
    month < 10 and month + 3 or month - 9, day_of_year - math.floor((153 * month + 2) / 5) + 1,
    math.floor(seconds / 3600), math.floor(seconds / 60) % 60, seconds % 60, ms % 1000)
end

-- Whether the traces of the operator keep what this script does: '1' or '0'; nil if it makes no traces. operator.lua
-- sets it.
local traced = nil

-- The extension `traceparent` of an event about a Match (CloudEvents, "Distributed Tracing"): its trace is called by
-- the UID of the Match, and the span of the whole Match by the second half of it.
local function traceparent(match)
  local digits = traced and match and string.lower((string.gsub(match, '-', ''))) or ''
  if #digits ~= 32 or string.find(digits, '[^%x]') then
    return ''
  end
  return ',"traceparent":"00-' .. digits .. '-' .. string.sub(digits, 17) .. '-0' .. traced .. '"'
end

-- Writes a CloudEvent. Its id follows from the state after the transition. `id` and `subject` are escaped, `data` is
-- JSON, `match` is the UID of the Match that it belongs to, if it belongs to one. The source follows from the name of
-- the stream, which carries the pool's prefix.
local function publish_event(events, kind, id, subject, at, data, match)
  local source = string.gsub(events, '^rk:{([^:}]*):([^}]*)}:.*$', '/roomkeeper/%1/%2')
  publish(events, EVENTS, 'event', '{"specversion":"1.0","id":"' .. id .. '","source":"' .. source
    .. '","type":"dev.roomkeeper.' .. kind .. '","subject":"' .. subject .. '","time":"' .. rfc3339(tonumber(at))
    .. '","datacontenttype":"application/json"' .. traceparent(match) .. ',"data":' .. data .. '}')
end

-- Writes the event of a user's transition. `user` has id, state and epoch as they are after it, and reason, place,
-- match, match_name and detail where they apply.
local function publish_user(events, at, user)
  local id = escaped(user.id)
  local subject = 'user/' .. id
  local kind = 'user.' .. string.gsub(string.lower(user.state), '_', '-')
  publish_event(events, kind, subject .. '/' .. at .. '-' .. whole(user.epoch), subject, at,
    '{"user":"' .. id .. '","state":"' .. user.state .. '","reason":"' .. escaped(text(user.reason))
    .. '","place":' .. number(user.place) .. ',"match":"' .. escaped(text(user.match)) .. '","matchName":"'
    .. escaped(text(user.match_name)) .. '","detail":"' .. escaped(text(user.detail)) .. '"}', user.match)
end
