
-- signal: note in the ledger of a Match what a gateway, or a flag of an older client, said about one of its users.
-- KEYS 3 user, 4 match, 5 the flag, to be deleted once it is noted (only for flags)
-- ARGV 3 now (ms), 4 uid, 5 id, 6 skip|end|disconnect|suspect|token, 7 who says so, 8 reason, 9 via,
--      10 when it was sent, by the clock of this server (ms; empty where the sender named the Match),
--      11 the value of the flag that was read (only for flags)
-- OK new|replay match-name · IGNORED unknown|over|stranger|elsewhere|older · STALE epoch · LOST

local user, match, flag = KEYS[3], KEYS[4], KEYS[5]
local now, uid, id, kind, by, reason, via = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local sent_ms, flag_value = tonumber(ARGV[10]), ARGV[11]

local refused = refusal(false)
if refused then
  return refused
end
local ledger = redis.call('HMGET', match, 'claimed', 'settled', 'matchName', 'takenAt', 'wish', 'q:' .. id)

-- A late word about one call must never touch the next.
local function why_ignored()
  if ledger[2] then
    return 'over'
  end
  if not ledger[1] then
    return 'unknown'
  end
  if not ledger[6] then
    return 'stranger'
  end
  if redis.call('HGET', user, 'match') ~= uid then
    return 'elsewhere'
  end
  if sent_ms and sent_ms < tonumber(ledger[4] or '0') then
    return 'older'
  end
  return nil
end

local ignored = why_ignored()
if ignored then
  return {'IGNORED', ignored}
end
-- A flag was read a moment ago. If it has gone since, so may have the call that it was about: whoever holds the user now
-- is not meant. A wish that is the flag's own tells that this call is a repeated one.
if flag and redis.call('GET', flag) ~= flag_value then
  local is_json, wish = pcall(cjson.decode, text(ledger[5]))
  if is_json and type(wish) == 'table' and wish.user == id and wish.via == via then
    return {'OK', 'replay', ledger[3]}
  end
  return {'IGNORED', 'older'}
end

local result = 'new'
if kind == 'suspect' then
  redis.call('HSET', match, 'suspect:' .. id, now)
elseif kind == 'token' then
  redis.call('HSET', match, 'tokensAskedAt', now)
elseif ledger[5] then
  result = 'replay'
else
  local wish = {action = kind, user = id, by = by, reason = reason, via = via, at = tonumber(now)}
  redis.call('HSET', match, 'wish', cjson.encode(wish))
end
if flag then
  redis.call('DEL', flag)
end
return {'OK', result, ledger[3]}
