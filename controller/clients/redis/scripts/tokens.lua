
-- tokens: replace or delete the LiveKit tokens of a Match's participants.
--
-- KEYS
--   3 match:<uid>
--   4 tokens:<uid>
-- ARGV
--   3 ttl        of the tokens (ms)
--   4+ identity  without identities the request deletes the tokens
--   5+ token     (JSON)
-- ANSWERS
--   OK         the tokens are written, or deleted
--   SETTLED    the Match is over
--   UNCLAIMED  the Match has no ledger
-- REDIS 6.2

local match, tokens = KEYS[3], KEYS[4]

local refused = refusal(false)
if refused then
  return refused
end
if #ARGV == 3 then
  redis.call('DEL', tokens)
  return {'OK'}
end
-- A token that is written after the end would never be deleted.
local ledger = redis.call('HMGET', match, 'claimed', 'settled')
if ledger[2] then
  return {'SETTLED'}
end
if not ledger[1] then
  return {'UNCLAIMED'}
end

redis.call('DEL', tokens)
redis.call('HSET', tokens, unpack(ARGV, 4))
redis.call('PEXPIRE', tokens, ARGV[3])
return {'OK'}
