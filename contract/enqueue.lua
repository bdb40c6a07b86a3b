
-- enqueue: let a user wait. Whoever waits already keeps their place.
-- KEYS 1 queue, 2 reservations, 3 user, 4 blocked, 5 notify, 6 events · ARGV 1 id, 2 session (may be empty)
-- OK new|replay place · BUSY match-uid · BLOCKED · INVALID sentence

local queue, reservations, user, blocked, notices, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, session = ARGV[1], ARGV[2]

if #KEYS ~= 6 or #ARGV ~= 2 then
  return {'INVALID', 'expected 6 keys (queue, reservations, user, blocked, notify, events) and 2 arguments (id, '
    .. 'session)'}
end
-- Whoever no Match can carry would wait for ever, and in the end at the front of the queue. The second pattern is U+0080
-- to U+009F in UTF-8.
if id == '' or #id > 256 or string.find(id, '[%z\1-\31\127]') or string.find(id, '\194[\128-\159]') then
  return {'INVALID', 'expected an id that a Match can carry: 1 to 256 bytes, without control characters (U+0000 to '
    .. 'U+001F, U+007F to U+009F)'}
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
  -- The newest connection speaks for the user; the other one learns it from its next beat.
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
