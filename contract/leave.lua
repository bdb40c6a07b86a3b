
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
-- REDIS 6.2

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
