
-- signals: note up to which entry of the stream `signals` all are handled, and drop those; an entry that is not handled
-- yet stays, however many follow it. If a gateway chose an id in the future, all later entries get ids beyond it, and none
-- tells when it was sent: then the stream begins again once all of it is handled.
--
-- KEYS
--   3 signals-done
--   4 signals
-- ARGV
--   3 done  the id of the last entry that is handled
-- ANSWERS
--   OK <id>  the id to read on from
-- REDIS 6.2

local FUTURE_MS = 5000
local done, signals = KEYS[3], KEYS[4]
local id = ARGV[3]

local refused = refusal(false)
if refused then
  return refused
end
if tonumber(string.match(id, '^%d+')) > server_ms() + FUTURE_MS then
  local newest = redis.call('XREVRANGE', signals, '+', '-', 'COUNT', 1)[1]
  if not newest or newest[1] == id then
    redis.call('DEL', signals)
    id = '0-0'
  end
end
redis.call('SET', done, id, 'KEEPTTL')
redis.call('XTRIM', signals, 'MINID', '~', id)
return {'OK', id}
