
-- held: of some users, tell those whom one of some Matches holds by the user's own record. It changes nothing, so any
-- replica may run it.
--
-- KEYS
--   1+ user:<id>
-- ARGV
--   1+ uid  of a Match
-- ANSWERS
--   OK (<key> <uid> <state> <queuedAt> <matchName> <sessionID>)*  the fields of the record
-- REDIS 6.2

local wanted = {}
for _, uid in ipairs(ARGV) do
  wanted[uid] = true
end
local reply = {'OK'}
for _, key in ipairs(KEYS) do
  -- A key of the wrong type says nothing of its user: the answer is a table with the error.
  local uid = redis.pcall('HGET', key, 'match')
  if type(uid) == 'string' and wanted[uid] then
    reply[#reply + 1], reply[#reply + 2] = key, uid
    for _, value in ipairs(redis.call('HMGET', key, 'state', 'queuedAt', 'matchName', 'sessionID')) do
      reply[#reply + 1] = text(value)
    end
  end
end
return reply
