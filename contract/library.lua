#!lua name=roomkeeper
-- Made by `python -m controller.generate` from the scripts beside this file; edit those instead.
--
-- library.lua: the published scripts as a function library, for Redis 7 and later and for Valkey.
--
--   redis-cli -x FUNCTION LOAD REPLACE < contract/library.lua
--   redis-cli FCALL roomkeeper_enqueue 1 'rk:{default:calls}:' alice tab-1
--   redis-cli FCALL roomkeeper_version 0
--
-- The one key of a request is the prefix of the pool. The function builds the keys of the script from it; they are
-- in the same hash slot. The arguments and the answers are those that the header of the script names.

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

-- enqueue: let a user wait in the queue. A user who waits already keeps their place. The request counts as a beat.
--
-- KEYS
--   1 queue
--   2 reservations
--   3 heartbeats
--   4 served
--   5 user:<id>
--   6 blocked:<id>
--   7 notify:<id>
--   8 events
-- ARGV
--   1 id       the user: 1 to 256 bytes of UTF-8 without control characters
--   2 session  the connection that speaks for the user from now on; may be empty
-- ANSWERS
--   OK new|replay <place>  the user waits; the place is the moment they began to wait (ms)
--   BUSY <match UID>       this Match holds the user
--   BLOCKED                the user is blocked
--   UNSERVED               no operator serves this pool; one that can serve it learns of this, so try again in a second
--   INVALID <sentence>     the request is wrong, and the sentence says what was expected
local function enqueue(KEYS, ARGV)
  local queue, reservations, heartbeats, served = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
  local user, blocked, notices, events = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
  local id, session = ARGV[1], ARGV[2]

  if #KEYS ~= 8 or #ARGV ~= 2 then
    return {'INVALID', 'expected 8 keys (queue, reservations, heartbeats, served, user, blocked, notify, events) and 2 '
      .. 'arguments (id, session)'}
  end
  -- A user whom no Match can carry would wait forever, in the end at the front of the queue. The second pattern is U+0080
  -- to U+009F in UTF-8.
  if id == '' or #id > 256 or string.find(id, '[%z\1-\31\127]') or string.find(id, '\194[\128-\159]')
    or not is_utf8(id) then
    return {'INVALID', 'expected an id that a Match can carry: 1 to 256 bytes of UTF-8, without control characters '
      .. '(U+0000 to U+001F, U+007F to U+009F)'}
  end
  local wrong = misplaced(KEYS, {'queue', 'reservations', 'heartbeats', 'served', 'user:' .. id, 'blocked:' .. id,
    'notify:' .. id, 'events'})
  if wrong then
    return wrong
  end
  local known = redis.call('HMGET', user, 'state', 'match', 'session')
  if text(known[2]) ~= '' then
    return {'BUSY', known[2]}
  end
  if redis.call('EXISTS', blocked) == 1 then
    return {'BLOCKED'}
  end
  if redis.call('EXISTS', served) == 0 then
    -- No key could carry this to the operator: it does not know the pool yet.
    local cluster_id, namespace = string.match(queue, '^rk:{([^:]*):([^}]*)}')
    redis.call('PUBLISH', 'rk:unserved:' .. cluster_id, namespace)
    return {'UNSERVED'}
  end

  local score = redis.call('ZSCORE', queue, id) or reservation(reservations, id)
  local kind = score and 'replay' or 'new'
  local is_replaced = session ~= '' and text(known[3]) ~= '' and session ~= known[3]
  local now = whole(server_ms())
  local epoch, seq
  if not score then
    score = now
    redis.call('ZADD', queue, score, id)
  end
  if kind == 'new' or known[1] ~= 'WAITING' then
    redis.call('HSET', user, 'state', 'WAITING', 'match', '', 'matchName', '', 'room', '', 'url', '', 'sessionID', '',
      'since', score, 'queuedAt', score, 'reason', '', 'leftAt', '', 'leftFor', '', 'session', session)
    epoch = redis.call('HINCRBY', user, 'epoch', 1)
    seq = redis.call('HINCRBY', user, 'seq', 1)
    redis.call('PERSIST', user)
  elseif session ~= '' and session ~= text(known[3]) then
    -- The newest connection speaks for the user. The older one learns this from its next beat.
    redis.call('HSET', user, 'session', session)
    seq = redis.call('HINCRBY', user, 'seq', 1)
  end
  -- A user who was never heard of again after this request would otherwise wait forever.
  redis.call('ZADD', heartbeats, now, id)
  if is_replaced then
    notify(notices, now, 'replaced', 'session', known[3], 'by', session, 'seq', whole(seq))
  end
  if epoch then
    publish_user(events, score, {id = id, state = 'WAITING', epoch = epoch, place = score})
  end
  return {'OK', kind, score}
end

redis.register_function('roomkeeper_enqueue', function(keys, args)
  local wrong = wrong_request(keys, args, 2, 2, '2 arguments (id, session)')
    or moving(keys[1])
  if wrong then
    return wrong
  end
  local pool = keys[1]
  local names = {
    pool..'queue', pool..'reservations', pool..'heartbeats', pool..'served', pool..'user:'..args[1],
    pool..'blocked:'..args[1], pool..'notify:'..args[1], pool..'events',
  }
  return enqueue(names, args)
end)

-- beat: report that a user's client is connected, and read the user's state. A gateway polls with this one request.
--
-- KEYS
--   1 user:<id>
--   2 heartbeats
--   3 notify:<id>
-- ARGV
--   1 id       the user
--   2 session  the connection that sends the request; may be empty
--   3 mode     TAKE for the first beat of a new connection, which speaks for the user from now on; else KEEP
-- ANSWERS
--   OK <state> <match UID> <match name> <room> <reason> <seq>  the user's state; a field without a value is empty
--   UNKNOWN             Redis knows nothing of the user: to wait, they enter the queue again
--   REPLACED            another connection speaks for the user: close this one
--   INVALID <sentence>  the request is wrong, and the sentence says what was expected
local function beat(KEYS, ARGV)
  local user, heartbeats, notices = KEYS[1], KEYS[2], KEYS[3]
  local id, session, mode = ARGV[1], ARGV[2], ARGV[3]

  if #KEYS ~= 3 or #ARGV ~= 3 then
    return {'INVALID', 'expected 3 keys (user, heartbeats, notify) and 3 arguments (id, session, mode)'}
  end
  if id == '' or (mode ~= 'TAKE' and mode ~= 'KEEP') then
    return {'INVALID', 'expected an id that is not empty, and TAKE or KEEP as the third argument'}
  end
  local wrong = misplaced(KEYS, {'user:' .. id, 'heartbeats', 'notify:' .. id})
  if wrong then
    return wrong
  end
  local known = redis.call('HMGET', user, 'state', 'match', 'matchName', 'room', 'reason', 'seq', 'session')
  if not known[1] then
    return {'UNKNOWN'}
  end
  local speaker = text(known[7])
  -- A replaced connection must not make its successor look alive.
  if session ~= '' and speaker ~= '' and session ~= speaker and mode == 'KEEP' then
    return {'REPLACED'}
  end

  if session ~= '' and session ~= speaker then
    redis.call('HSET', user, 'session', session)
    known[6] = whole(redis.call('HINCRBY', user, 'seq', 1))
  end
  -- The operator does not watch idle users, and this entry would outlive their record.
  if known[1] ~= 'IDLE' then
    redis.call('ZADD', heartbeats, whole(server_ms()), id)
  end
  if speaker ~= '' and session ~= '' and session ~= speaker then
    notify(notices, whole(server_ms()), 'replaced', 'session', speaker, 'by', session, 'seq', known[6])
  end
  return {'OK', known[1], text(known[2]), text(known[3]), text(known[4]), text(known[5]), text(known[6])}
end

redis.register_function('roomkeeper_beat', function(keys, args)
  local wrong = wrong_request(keys, args, 3, 3, '3 arguments (id, session, mode)')
    or moving(keys[1])
  if wrong then
    return wrong
  end
  local pool = keys[1]
  local names = {
    pool..'user:'..args[1], pool..'heartbeats', pool..'notify:'..args[1],
  }
  return beat(names, args)
end)

-- leave: take a user out of the queue. A Match that was made before this, or within the next ten seconds, does not take
-- the user, nor does the Match that the user was reserved for.
--
-- KEYS
--   1 queue
--   2 reserved
--   3 reservations
--   4 heartbeats
--   5 user:<id>
--   6 notify:<id>
--   7 events
-- ARGV
--   1 id       the user
--   2 session  the connection that sends the request; may be empty
--   3 ttl      how long the record of the idle user stays (ms), at least a minute
-- ANSWERS
--   OK new|replay       the user does not wait; replay if they did not wait before the request
--   BUSY <match UID>    this Match holds the user
--   REPLACED            another connection speaks for the user
--   INVALID <sentence>  the request is wrong, and the sentence says what was expected
local function leave(KEYS, ARGV)
  local queue, reserved, reservations, heartbeats, user = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
  local notices, events = KEYS[6], KEYS[7]
  local LEFT_MS = 60000
  local id, session, ttl = ARGV[1], ARGV[2], at_least_one(ARGV[3])

  if #KEYS ~= 7 or #ARGV ~= 3 then
    return {'INVALID', 'expected 7 keys (queue, reserved, reservations, heartbeats, user, notify, events) and 3 arguments '
      .. '(id, session, ttl)'}
  end
  if id == '' or not ttl then
    return {'INVALID', 'expected an id that is not empty, and a ttl of 1 ms or more as the third argument'}
  end
  local wrong = misplaced(KEYS, {'queue', 'reserved', 'reservations', 'heartbeats', 'user:' .. id, 'notify:' .. id,
    'events'})
  if wrong then
    return wrong
  end
  local known = redis.call('HMGET', user, 'state', 'match', 'session')
  if text(known[2]) ~= '' then
    return {'BUSY', known[2]}
  end
  -- When a page is reloaded, its old connection leaves after the new one has entered.
  if session ~= '' and text(known[3]) ~= '' and known[3] ~= session then
    return {'REPLACED'}
  end
  if known[1] ~= 'WAITING' then
    return {'OK', 'replay'}
  end

  local _, reserved_for = reservation(reservations, id)
  redis.call('ZREM', queue, id)
  cancel_reservation(reserved, reservations, id)
  redis.call('ZREM', heartbeats, id)
  local now = whole(server_ms())
  redis.call('HSET', user, 'state', 'IDLE', 'since', now, 'queuedAt', '', 'reason', '', 'leftAt', now,
    'leftFor', text(reserved_for))
  local epoch = redis.call('HINCRBY', user, 'epoch', 1)
  local seq = redis.call('HINCRBY', user, 'seq', 1)
  redis.call('PEXPIRE', user, whole(math.max(ttl, LEFT_MS)))
  notify(notices, now, 'left-queue', 'why', 'Left', 'seq', whole(seq))
  publish_user(events, now, {id = id, state = 'IDLE', epoch = epoch, reason = 'Left'})
  return {'OK', 'new'}
end

redis.register_function('roomkeeper_leave', function(keys, args)
  local wrong = wrong_request(keys, args, 3, 3, '3 arguments (id, session, ttl)')
    or moving(keys[1])
  if wrong then
    return wrong
  end
  local pool = keys[1]
  local names = {
    pool..'queue', pool..'reserved', pool..'reservations', pool..'heartbeats', pool..'user:'..args[1],
    pool..'notify:'..args[1], pool..'events',
  }
  return leave(names, args)
end)

-- reserve: take users out of the queue for a Match that is about to be created: all of them, or none. If no Match of
-- this name claims them before the deadline, release puts them back in their places.
--
-- KEYS
--   1 queue
--   2 reserved
--   3 reservations
--   4+ blocked:<id>
-- ARGV
--   1 name  the name of the Match
--   2 ttl   how long the reservation lasts (ms)
--   3+ id   a user; each of them once
-- ANSWERS
--   OK new|replay (<id> <place>)*  all users are reserved; a replay does not move the deadline
--   NOTQUEUED <id>                 this user does not wait
--   RESERVED <id> <match name>     this user is reserved for another Match
--   BLOCKED <id>                   this user is blocked
--   INVALID <sentence>             the request is wrong, and the sentence says what was expected
local function reserve(KEYS, ARGV)
  local KEYS_BEFORE, ARGV_BEFORE = 3, 2
  local queue, reserved, reservations = KEYS[1], KEYS[2], KEYS[3]
  local name, ttl, count = ARGV[1], at_least_one(ARGV[2]), #ARGV - ARGV_BEFORE

  if count < 1 or #KEYS ~= KEYS_BEFORE + count then
    return {'INVALID', 'expected keys (queue, reserved, reservations, then blocked:<id> for each id) and arguments '
      .. '(name, ttl, then the ids)'}
  end
  if name == '' or not ttl then
    return {'INVALID', 'expected the name of a Match, and a ttl of 1 ms or more as the second argument'}
  end
  local seen, names = {}, {'queue', 'reserved', 'reservations'}
  for n = 1, count do
    local id = ARGV[ARGV_BEFORE + n]
    if id == '' or seen[id] then
      return {'INVALID', 'expected ids that are distinct and not empty'}
    end
    seen[id] = true
    names[KEYS_BEFORE + n] = 'blocked:' .. id
  end
  local wrong = misplaced(KEYS, names)
  if wrong then
    return wrong
  end
  for n = 1, count do
    if redis.call('EXISTS', KEYS[KEYS_BEFORE + n]) == 1 then
      return {'BLOCKED', ARGV[ARGV_BEFORE + n]}
    end
  end
  local scores, kind = {}, 'replay'
  for n = 1, count do
    local id = ARGV[ARGV_BEFORE + n]
    local score, reserved_for = place(queue, reserved, reservations, id)
    if reserved_for and reserved_for ~= name then
      return {'RESERVED', id, reserved_for}
    end
    if not score then
      return {'NOTQUEUED', id}
    end
    if not reserved_for then
      kind = 'new'
    end
    scores[n] = score
  end

  local deadline = whole(server_ms() + ttl)
  local reply = {'OK', kind}
  for n = 1, count do
    local id = ARGV[ARGV_BEFORE + n]
    if kind == 'new' then
      redis.call('ZREM', queue, id)
      redis.call('ZADD', reserved, deadline, id)
      redis.call('HSET', reservations, id, scores[n] .. ' ' .. name)
    end
    reply[#reply + 1] = id
    reply[#reply + 1] = scores[n]
  end
  return reply
end

redis.register_function('roomkeeper_reserve', function(keys, args)
  local wrong = wrong_request(keys, args, 3, math.huge, '3 or more arguments (name, ttl, then ids)')
    or moving(keys[1])
  if wrong then
    return wrong
  end
  local pool = keys[1]
  local names = {
    pool..'queue', pool..'reserved', pool..'reservations',
  }
  for n = 3, #args do
    names[#names + 1] = pool..'blocked:'..args[n]
  end
  return reserve(names, args)
end)

-- release: put users whose reservation has run out back in their places. Call it before reading the queue.
--
-- KEYS
--   1 queue
--   2 reserved
--   3 reservations
-- ARGV
--   1 limit  how many users at most
-- ANSWERS
--   OK <id>*            these users are back in the queue
--   INVALID <sentence>  the request is wrong, and the sentence says what was expected
local function release(KEYS, ARGV)
  local queue, reserved, reservations = KEYS[1], KEYS[2], KEYS[3]
  local limit = at_least_one(ARGV[1])

  if #KEYS ~= 3 or #ARGV ~= 1 then
    return {'INVALID', 'expected 3 keys (queue, reserved, reservations) and 1 argument (limit)'}
  end
  if not limit then
    return {'INVALID', 'expected a limit of 1 or more'}
  end
  local wrong = misplaced(KEYS, {'queue', 'reserved', 'reservations'})
  if wrong then
    return wrong
  end
  local now = whole(server_ms())
  local ids = redis.call('ZRANGEBYSCORE', reserved, '-inf', now, 'LIMIT', 0, whole(limit))
  local reply = {'OK'}
  for _, id in ipairs(ids) do
    -- If the place is unknown, a late place is better than none.
    redis.call('ZADD', queue, 'LT', reservation(reservations, id) or now, id)
    cancel_reservation(reserved, reservations, id)
    reply[#reply + 1] = id
  end
  return reply
end

redis.register_function('roomkeeper_release', function(keys, args)
  local wrong = wrong_request(keys, args, 1, 1, '1 argument (limit)')
    or moving(keys[1])
  if wrong then
    return wrong
  end
  local pool = keys[1]
  local names = {
    pool..'queue', pool..'reserved', pool..'reservations',
  }
  return release(names, args)
end)

-- version: which library is loaded. Answers OK, the version of the contract, and a digest of the library's text.
redis.register_function{function_name = 'roomkeeper_version', flags = {'no-writes'}, callback = function()
  return {'OK', '1.0.0', '183c57554b7f'}
end}
