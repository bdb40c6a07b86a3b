-- common.lua: the first part of every script. Answers are flat arrays of strings whose first word tells what happened.
-- All checks come before the first write, and a script that refuses has written nothing.

-- tostring() would round a number to 14 digits.
local function whole(number)
  return string.format('%.0f', number)
end

-- Places in the queue come from this clock alone: two clocks in one queue would let some people jump it.
local function server_ms()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

-- HGET and HMGET answer false for what is missing.
local function text(value)
  return value or ''
end

-- A reservation is '<place in the queue> <name of the Match>': claim, release and leave need both without the user.
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

-- Where a user waits: the score, the name of the Match they are reserved for (nil if they are in the queue itself).
-- A reservation whose deadline is over holds nobody, also before release.lua has put the user back.
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

-- What is told to others (docs/events.md). It is written by the script that makes it true, so that it is told once; and
-- last, so that a stream that cannot be written leaves nothing half done: the same call again is a replay.

local NOTICES, NOTICES_TTL_MS = 50, 300000
local EVENTS, DISCONNECTS, DAY_MS = 100000, 10000, 86400000

local function notify(notices, at, kind, ...)
  redis.call('XADD', notices, 'MAXLEN', NOTICES, '*', 'type', kind, 'at', at, ...)
  redis.call('PEXPIRE', notices, NOTICES_TTL_MS)
end

-- An entry for a stream that everybody follows. The oldest go beyond a number; and after a day, which is looked at one
-- time in ten, because entries that are a day old are rarely there.
local function publish(stream, at_most, ...)
  local id = redis.call('XADD', stream, 'MAXLEN', '~', at_most, '*', ...)
  if string.sub(id, 13, 13) == '0' then
    redis.call('XTRIM', stream, 'MINID', '~', whole(string.match(id, '^%d+') - DAY_MS))
  end
end

-- Text for use between the quotation marks of JSON. (Whole events are not left to cjson: it mixes up their fields, and
-- cannot tell an empty list from an empty object.)
local function escaped(value)
  return string.sub(cjson.encode(value), 2, -2)
end

local function number(value)
  return value and value ~= '' and value or 'null'
end

-- RFC 3339 in UTC. The year begins in March here, so that the day that comes and goes is the last one.
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

-- A CloudEvent. The id follows from what the transition leaves behind; `id` and `subject` are escaped, `data` is JSON.
local function publish_event(events, kind, id, subject, at, data)
  local source = string.gsub(KEYS[1], '^rk:{([^:}]*):([^}]*)}:.*$', '/roomkeeper/%1/%2')
  publish(events, EVENTS, 'event', '{"specversion":"1.0","id":"' .. id .. '","source":"' .. source
    .. '","type":"dev.roomkeeper.' .. kind .. '","subject":"' .. subject .. '","time":"' .. rfc3339(tonumber(at))
    .. '","datacontenttype":"application/json","data":' .. data .. '}')
end

-- `user` has id, state and epoch after the transition; reason, place, match, match_name and detail where they apply.
local function publish_user(events, at, user)
  local id = escaped(user.id)
  local subject = 'user/' .. id
  local kind = 'user.' .. string.gsub(string.lower(user.state), '_', '-')
  publish_event(events, kind, subject .. '/' .. at .. '-' .. whole(user.epoch), subject, at,
    '{"user":"' .. id .. '","state":"' .. user.state .. '","reason":"' .. escaped(text(user.reason))
    .. '","place":' .. number(user.place) .. ',"match":"' .. escaped(text(user.match)) .. '","matchName":"'
    .. escaped(text(user.match_name)) .. '","detail":"' .. escaped(text(user.detail)) .. '"}')
end
