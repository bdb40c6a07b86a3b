
-- drain: tell the users of a live Match that the LiveKit server of their call is drained, or that it is no longer. The
-- ledger keeps which drain they were told about, so they are told once.
--
-- KEYS
--   3 match:<uid>
--   4+ user:<id>
--   5+ notify:<id>
-- ARGV
--   3 now     (ms)
--   4 uid     of the Match
--   5 drain   the id of the drain; empty: the server is in service
--   6+ field  of the notice
--   7+ value
-- ANSWERS
--   OK <count>  so many users got the notice
--   SETTLED     the Match is over
--   UNCLAIMED   the Match has no ledger
-- REDIS 6.2

local match, now, uid, drain = KEYS[3], ARGV[3], ARGV[4], ARGV[5]

local refused = refusal(false)
if refused then
  return refused
end
local ledger = redis.call('HMGET', match, 'claimed', 'settled', 'drain')
if ledger[2] then
  return {'SETTLED'}
end
if not ledger[1] then
  return {'UNCLAIMED'}
end
local known = text(ledger[3])
if drain == known then
  return {'OK', '0'}
end
redis.call('HSET', match, 'drain', drain)
local told = 0
for n = 4, #KEYS, 2 do
  if redis.call('HGET', KEYS[n], 'match') == uid then
    notify(KEYS[n + 1], now, 'shutdown', 'about', drain ~= '' and drain or known, unpack(ARGV, 6))
    told = told + 1
  end
end
return {'OK', whole(told)}
