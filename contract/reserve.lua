
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
-- REDIS 6.2

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
