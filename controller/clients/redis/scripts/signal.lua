
-- signal: note in the ledger of a Match what a gateway, or a flag of an older client, said about one of its users.
--
-- KEYS
--   3 user:<id>
--   4 match:<uid>
--   5? <flag>:<id>  deleted once it is noted
-- ARGV
--   3 now     (ms)
--   4 uid     of the Match
--   5 id      the user
--   6 kind    skip, end, disconnect, suspect or token
--   7 by      who says so
--   8 reason  in their words
--   9 via     signal, or the name of the flag
--   10 sent   when it was sent by this server's clock (ms); empty if the sender named the Match
--   11? flag  the value of the flag as it was read
-- ANSWERS
--   OK new|replay <match name>                          noted
--   IGNORED unknown|over|stranger|elsewhere|older|timeless
--                                                       not noted: there is no such Match, it is over, the user is not
--                                                       one of its users, another Match holds the user, the signal is
--                                                       older than the call, or its time lies in the future
-- REDIS 6.2

local user, match, flag = KEYS[3], KEYS[4], KEYS[5]
local now, uid, id, kind, by, reason, via = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local FUTURE_MS = 5000
local sent_ms, flag_value = tonumber(ARGV[10]), ARGV[11]

local refused = refusal(false)
if refused then
  return refused
end
local ledger = redis.call('HMGET', match, 'claimed', 'settled', 'matchName', 'takenAt', 'wish', 'q:' .. id)

-- A late signal about one call must never touch the next call.
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
  -- A gateway chose the id of an entry itself, so nothing tells whether this one was sent during the call.
  if sent_ms and sent_ms > server_ms() + FUTURE_MS then
    return 'timeless'
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
-- The caller read the flag a moment ago. If the flag has gone since, its call may have gone too, and the Match that
-- holds the user now is not the one meant. If the stored wish came from this flag, this request is a repeated one.
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
