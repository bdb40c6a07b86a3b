
-- beat: tell that a user's client is there, and learn the user's state: all that a gateway polls.
-- KEYS 1 user, 2 heartbeats, 3 notify · ARGV 1 id, 2 session (may be empty), 3 TAKE (a new connection's first beat) or KEEP
-- OK state match-uid match-name room reason seq · UNKNOWN · REPLACED · INVALID sentence

local user, heartbeats, notices = KEYS[1], KEYS[2], KEYS[3]
local id, session, claim = ARGV[1], ARGV[2], ARGV[3]

if #KEYS ~= 3 or #ARGV ~= 3 or id == '' or (claim ~= 'TAKE' and claim ~= 'KEEP') then
  return {'INVALID', 'expected 3 keys (user, heartbeats, notify) and 3 arguments (id, session, TAKE or KEEP)'}
end
local known = redis.call('HMGET', user, 'state', 'match', 'matchName', 'room', 'reason', 'seq', 'session')
if not known[1] then
  return {'UNKNOWN'}
end
local speaker = text(known[7])
-- A connection that was replaced must not make its successor look alive.
if session ~= '' and speaker ~= '' and session ~= speaker and claim == 'KEEP' then
  return {'REPLACED'}
end

if session ~= '' and session ~= speaker then
  redis.call('HSET', user, 'session', session)
  known[6] = whole(redis.call('HINCRBY', user, 'seq', 1))
end
-- Whoever is idle is looked for by nobody, and an entry here would outlive their record.
if known[1] ~= 'IDLE' then
  redis.call('ZADD', heartbeats, whole(server_ms()), id)
end
if speaker ~= '' and session ~= '' and session ~= speaker then
  notify(notices, whole(server_ms()), 'replaced', 'session', speaker, 'by', session, 'seq', known[6])
end
return {'OK', known[1], text(known[2]), text(known[3]), text(known[4]), text(known[5]), text(known[6])}
