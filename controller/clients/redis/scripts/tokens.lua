
-- tokens: replace, or delete, the LiveKit tokens of a Match's participants.
-- KEYS 3 match, 4 tokens
-- ARGV 3 TTL (ms), then identity, JSON … (none: delete)
-- OK · SETTLED · UNCLAIMED · STALE epoch · LOST

local match, tokens = KEYS[3], KEYS[4]

local refused = refusal(false)
if refused then
  return refused
end
if #ARGV == 3 then
  redis.call('DEL', tokens)
  return {'OK'}
end
-- Nobody deletes a token that is written after the end.
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
