
-- enqueue: let a user wait in the queue. A user who waits already keeps their place.
--
-- KEYS
--   1 queue
--   2 reservations
--   3 user:<id>
--   4 blocked:<id>
--   5 notify:<id>
--   6 events
-- ARGV
--   1 id       the user: 1 to 256 bytes of UTF-8 without control characters
--   2 session  the connection that speaks for the user from now on; may be empty
-- ANSWERS
--   OK new|replay <place>  the user waits; the place is the moment they began to wait (ms)
--   BUSY <match UID>       this Match holds the user
--   BLOCKED                the user is blocked
--   INVALID <sentence>     the request is wrong, and the sentence says what was expected
-- REDIS 6.2

local queue, reservations, user, blocked, notices, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, session = ARGV[1], ARGV[2]

if #KEYS ~= 6 or #ARGV ~= 2 then
  return {'INVALID', 'expected 6 keys (queue, reservations, user, blocked, notify, events) and 2 arguments (id, '
    .. 'session)'}
end
-- A user whom no Match can carry would wait forever, in the end at the front of the queue. The second pattern is U+0080
-- to U+009F in UTF-8.
if id == '' or #id > 256 or string.find(id, '[%z\1-\31\127]') or string.find(id, '\194[\128-\159]')
  or not is_utf8(id) then
  return {'INVALID', 'expected an id that a Match can carry: 1 to 256 bytes of UTF-8, without control characters '
    .. '(U+0000 to U+001F, U+007F to U+009F)'}
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
local is_replaced = session ~= '' and text(known[3]) ~= '' and session ~= known[3]
local epoch, seq
if not score then
  score = whole(server_ms())
  redis.call('ZADD', queue, score, id)
end
if kind == 'new' or known[1] ~= 'WAITING' then
  redis.call('HSET', user, 'state', 'WAITING', 'match', '', 'matchName', '', 'room', '', 'url', '', 'sessionID', '',
    'since', score, 'queuedAt', score, 'reason', '', 'session', session)
  epoch = redis.call('HINCRBY', user, 'epoch', 1)
  seq = redis.call('HINCRBY', user, 'seq', 1)
  redis.call('PERSIST', user)
elseif session ~= '' and session ~= text(known[3]) then
  -- The newest connection speaks for the user. The older one learns this from its next beat.
  redis.call('HSET', user, 'session', session)
  seq = redis.call('HINCRBY', user, 'seq', 1)
end
if is_replaced then
  notify(notices, whole(server_ms()), 'replaced', 'session', known[3], 'by', session, 'seq', whole(seq))
end
if epoch then
  publish_user(events, score, {id = id, state = 'WAITING', epoch = epoch, place = score})
end
return {'OK', kind, score}
