
-- enqueue: let a user wait. Whoever waits already keeps their place.
-- KEYS 1 queue, 2 reservations, 3 user, 4 blocked · ARGV 1 id, 2 session (may be empty)
-- OK new|replay place · BUSY match-uid · BLOCKED · INVALID sentence

local queue, reservations, user, blocked = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, session = ARGV[1], ARGV[2]

if #KEYS ~= 4 or #ARGV ~= 2 or id == '' then
  return {'INVALID', 'expected 4 keys (queue, reservations, user, blocked) and 2 arguments (id, session)'}
end
local known = redis.call('HMGET', user, 'state', 'match', 'session')
if text(known[2]) ~= '' then
  return {'BUSY', known[2]}
end
if redis.call('EXISTS', blocked) == 1 then
  return {'BLOCKED'}
end

local score = redis.call('ZSCORE', queue, id) or reservation(reservations, id)
local kind = score and 'replay' or 'new'
if not score then
  score = whole(server_ms())
  redis.call('ZADD', queue, score, id)
end
if kind == 'new' or known[1] ~= 'WAITING' then
  redis.call('HSET', user, 'state', 'WAITING', 'match', '', 'matchName', '', 'room', '', 'url', '', 'sessionID', '',
    'since', score, 'queuedAt', score, 'reason', '', 'session', session)
  redis.call('HINCRBY', user, 'epoch', 1)
  redis.call('HINCRBY', user, 'seq', 1)
  redis.call('PERSIST', user)
elseif session ~= '' and session ~= text(known[3]) then
  -- The newest connection speaks for the user; the other one learns it from its next beat.
  redis.call('HSET', user, 'session', session)
  redis.call('HINCRBY', user, 'seq', 1)
end
return {'OK', kind, score}
