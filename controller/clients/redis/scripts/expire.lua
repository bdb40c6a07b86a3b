
-- expire: let somebody wait no more whose client went without a word.
-- KEYS 3 queue, 4 reserved, 5 reservations, 6 heartbeats, 7 user, 8 notify, 9 events
-- ARGV 3 now (ms), 4 id, 5 the last beat that was seen (ms), 6 TTL of idle users (ms)
-- OK idle|alive|held|unknown · STALE epoch · LOST

local queue, reserved, reservations, heartbeats, user = KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local notices, events = KEYS[8], KEYS[9]
local now, id, last_beat, idle_ttl = ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local refused = refusal(false)
if refused then
  return refused
end
-- Whoever has beaten since then is there.
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
redis.call('ZREM', queue, id)
cancel_reservation(reserved, reservations, id)
redis.call('HSET', user, 'state', 'IDLE', 'since', now, 'queuedAt', '', 'reason', 'Silent')
local epoch = redis.call('HINCRBY', user, 'epoch', 1)
local seq = redis.call('HINCRBY', user, 'seq', 1)
redis.call('PEXPIRE', user, idle_ttl)
notify(notices, now, 'left-queue', 'why', 'Silent', 'seq', whole(seq))
publish_user(events, now, {id = id, state = 'IDLE', epoch = epoch, reason = 'Silent'})
return {'OK', 'idle'}
