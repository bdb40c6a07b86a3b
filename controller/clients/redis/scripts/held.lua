
-- held: of some users, tell those whom one of some Matches holds by the user's own record. It changes nothing, so any
-- replica may run it.
--
-- KEYS
--   1+ user:<id>
-- ARGV
--   1+ uid  of a Match
-- ANSWERS
--   OK (<key> <uid> <state> <queuedAt> <matchName> <sessionID> <room>)*  the fields of the record
-- REDIS 6.2

local wanted = {}
for _, uid in ipairs(ARGV) do
  wanted[uid] = true
end
local reply = {'OK'}
for _, key in ipairs(KEYS) do
  -- A key of the wrong type says nothing of its user: the error has no first element.
  local known = redis.pcall('HMGET', key, 'match', 'state', 'queuedAt', 'matchName', 'sessionID', 'room')
  if known[1] and wanted[known[1]] then
    reply[#reply + 1] = key
    for place = 1, 6 do
      reply[#reply + 1] = text(known[place])
    end
  end
end
return reply
