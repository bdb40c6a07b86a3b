
-- leave: let a user wait no more.
-- KEYS 1 queue, 2 reserved, 3 reservations, 4 heartbeats, 5 user, 6 notify, 7 events
-- ARGV 1 id, 2 session (may be empty), 3 TTL (ms)
-- OK new|replay · BUSY match-uid · REPLACED · INVALID sentence

local queue, reserved, reservations, heartbeats, user = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local notices, events = KEYS[6], KEYS[7]
local id, session, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3] or '')

if #KEYS ~= 7 or #ARGV ~= 3 or id == '' or not ttl or ttl < 1 then
  return {'INVALID', 'expected 7 keys (queue, reserved, reservations, heartbeats, user, notify, events) and 3 arguments '
    .. '(id, session, milliseconds to remember the user for)'}
end
local known = redis.call('HMGET', user, 'state', 'match', 'session')
if text(known[2]) ~= '' then
  return {'BUSY', known[2]}
end
-- A page that is reloaded says goodbye for its old connection after the new one has entered.
if session ~= '' and text(known[3]) ~= '' and known[3] ~= session then
  return {'REPLACED'}
end
if known[1] ~= 'WAITING' then
  return {'OK', 'replay'}
end

redis.call('ZREM', queue, id)
cancel_reservation(reserved, reservations, id)
redis.call('ZREM', heartbeats, id)
local now = whole(server_ms())
redis.call('HSET', user, 'state', 'IDLE', 'since', now, 'queuedAt', '', 'reason', '')
local epoch = redis.call('HINCRBY', user, 'epoch', 1)
local seq = redis.call('HINCRBY', user, 'seq', 1)
redis.call('PEXPIRE', user, whole(ttl))
notify(notices, now, 'left-queue', 'why', 'Left', 'seq', whole(seq))
publish_user(events, now, {id = id, state = 'IDLE', epoch = epoch, reason = 'Left'})
return {'OK', 'new'}
