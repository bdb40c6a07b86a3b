
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
-- REDIS 6.2

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
