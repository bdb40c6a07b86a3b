
-- drop: delete a key that is left over, or give it an end. Nothing happens if the key is no longer as it was seen, has got
-- an end meanwhile, or belongs to a Match that holds users.
--
-- KEYS
--   3 live
--   4 <any>         the key
--   5? match:<uid>  of the Match that the key belongs to
-- ARGV
--   3 type    of the key, as it was seen
--   4 uid     of the Match; empty if the key belongs to none
--   5 idle    the key must have been idle for so long (s); 0: it does not matter
--   6 ttl     that the key gets (ms); 0 deletes it
--   7+ field  that must still have the value that was seen; an empty name is the text itself, or the newest entry
--   8+ value
-- ANSWERS
--   OK done|changed|held  changed: the key is no leftover any longer; held: a Match that holds users has it
-- REDIS 6.2

local live, key, match = KEYS[3], KEYS[4], KEYS[5]
local seen_type, uid, least_idle, ttl = ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]

local refused = refusal(false)
if refused then
  return refused
end
-- These three do not touch the key, so the idle time is that before this request.
local kind, left_ms, idle = redis.call('TYPE', key).ok, redis.call('PTTL', key), redis.pcall('OBJECT', 'IDLETIME', key)
if kind ~= seen_type or left_ms ~= -1 or (least_idle > 0 and not (type(idle) == 'number' and idle >= least_idle)) then
  return {'OK', 'changed'}
end

local function current(field)
  if field ~= '' then
    return redis.call('HGET', key, field)
  end
  if kind == 'stream' then
    local newest = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
    return newest and string.match(newest[1], '^%d+')
  end
  return redis.call('GET', key)
end

if uid ~= '' then
  local is_ledger = redis.call('TYPE', match).ok == 'hash'
  local ledger = is_ledger and redis.call('HMGET', match, 'claimed', 'settled') or {}
  if redis.call('ZSCORE', live, uid) or (ledger[1] and not ledger[2]) then
    return {'OK', 'held'}
  end
end
for n = 7, #ARGV, 2 do
  if text(current(ARGV[n])) ~= ARGV[n + 1] then
    return {'OK', 'changed'}
  end
end

if ttl == '0' then
  redis.call('DEL', key)
else
  redis.call('PEXPIRE', key, ttl)
end
return {'OK', 'done'}
