
-- unlist: take a Match out of `live` of which there is no ledger: nothing is known of its users, so it holds none.
--
-- KEYS
--   3 live
--   4 match:<uid>
-- ARGV
--   3 uid    of the Match
--   4 score  that it had in `live` when it was seen
-- ANSWERS
--   OK done|changed|held  changed: it is listed with another score, or not at all; held: there is a ledger
-- REDIS 6.2

local live, match = KEYS[3], KEYS[4]
local uid, score = ARGV[3], tonumber(ARGV[4])

local refused = refusal(false)
if refused then
  return refused
end
if redis.call('EXISTS', match) == 1 then
  return {'OK', 'held'}
end
if tonumber(redis.call('ZSCORE', live, uid) or '') ~= score then
  return {'OK', 'changed'}
end
redis.call('ZREM', live, uid)
return {'OK', 'done'}
