
-- expire: take a waiting user out of the queue whose client has fallen silent.
--
-- KEYS
--   3 queue
--   4 reserved
--   5 reservations
--   6 heartbeats
--   7 user:<id>
--   8 notify:<id>
--   9 events
-- ARGV
--   3 now        (ms)
--   4 id         the user
--   5 last-beat  the last beat that the caller saw (ms)
--   6 idle-ttl   how long the record of an idle user stays (ms)
-- ANSWERS
--   OK idle|alive|held|unknown  the user is idle now; or has beaten since; or a Match holds them; or they did not wait
-- REDIS 6.2

local queue, reserved, reservations, heartbeats, user = KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local notices, events = KEYS[8], KEYS[9]
local now, id, last_beat, idle_ttl = ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local refused = refusal(false)
if refused then
  return refused
end
-- A user who has beaten since then is there.
if redis.call('ZSCORE', heartbeats, id) ~= last_beat then
  return {'OK', 'alive'}
end
local known = redis.call('HMGET', user, 'state', 'match')
if text(known[2]) ~= '' then
  return {'OK', 'held'}
end

redis.call('ZREM', heartbeats, id)
if known[1] ~= 'WAITING' then
  return {'OK', 'unknown'}
end
local _, reserved_for = reservation(reservations, id)
redis.call('ZREM', queue, id)
cancel_reservation(reserved, reservations, id)
redis.call('HSET', user, 'state', 'IDLE', 'since', now, 'queuedAt', '', 'reason', 'Silent',
  'leftAt', whole(server_ms()), 'leftFor', text(reserved_for))
local epoch = redis.call('HINCRBY', user, 'epoch', 1)
local seq = redis.call('HINCRBY', user, 'seq', 1)
redis.call('PEXPIRE', user, idle_ttl)
notify(notices, now, 'left-queue', 'why', 'Silent', 'seq', whole(seq))
publish_user(events, now, {id = id, state = 'IDLE', epoch = epoch, reason = 'Silent'})
return {'OK', 'idle'}
