
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
-- REDIS 6.2

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
