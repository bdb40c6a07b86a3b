
-- advance: move users of a Match forward, and publish what is known by now.
-- KEYS 3 match, then per user: user, force-disconnect
-- ARGV 3 now (ms), 4 uid, 5 phase, 6 room, 7 url, 8 session id (each may be empty: as it is), 9 whether one is alone
--      (0, 1, empty: as it is), 10 TTL (ms) of the flag that tells polling clients of the end (empty: none),
--      then per user: id, state
-- OK (id changed|same|lost)* · SETTLED · UNCLAIMED · STALE epoch · LOST

local KEYS_BEFORE, KEYS_PER_USER, ARGV_BEFORE, ARGV_PER_USER = 3, 2, 10, 2
local TOGETHER_AGAIN_MS = 5000
local match = KEYS[3]
local now, uid, phase, alone, flag_ttl = ARGV[3], ARGV[4], ARGV[5], ARGV[9], ARGV[10]
local published = {room = ARGV[6], url = ARGV[7], sessionID = ARGV[8]}

-- States only move up, so a late or repeated call never takes somebody back. Reconnecting people stay IN_CALL.
local RANK = {CONNECTING = 1, IN_CALL = 2, DISCONNECTING = 3}

local refused = refusal(false)
if refused then
  return refused
end
local ledger = redis.call('HMGET', match, 'claimed', 'settled', 'phase', 'aloneSince', 'aloneMs', 'togetherSince')
if ledger[2] then
  return {'SETTLED'}
end
if not ledger[1] then
  return {'UNCLAIMED'}
end

if phase ~= '' and phase ~= ledger[3] then
  redis.call('HSET', match, 'phase', phase)
end
if published.room ~= '' then
  redis.call('HSET', match, 'room', published.room)
end
-- How long one was alone in all; being together for a while makes it begin anew.
if alone == '1' and not ledger[4] then
  local together_ms = ledger[6] and tonumber(now) - tonumber(ledger[6]) or TOGETHER_AGAIN_MS
  redis.call('HSET', match, 'aloneSince', now, 'aloneMs', together_ms >= TOGETHER_AGAIN_MS and '0' or text(ledger[5]))
elseif alone == '0' and ledger[4] then
  local total_ms = (tonumber(ledger[5] or '') or 0) + math.max(0, tonumber(now) - tonumber(ledger[4]))
  redis.call('HDEL', match, 'aloneSince')
  redis.call('HSET', match, 'aloneMs', whole(total_ms), 'togetherSince', now)
end
local reply = {'OK'}
for n = 1, (#ARGV - ARGV_BEFORE) / ARGV_PER_USER do
  local key, flag = KEYS[KEYS_BEFORE + 2 * n - 1], KEYS[KEYS_BEFORE + 2 * n]
  local id, target = ARGV[ARGV_BEFORE + 2 * n - 1], ARGV[ARGV_BEFORE + 2 * n]
  local user = redis.call('HMGET', key, 'match', 'state')
  local step = 'lost'
  if user[1] == uid then
    step = (RANK[target] or 0) > (RANK[user[2]] or 0) and 'changed' or 'same'
    local news = {}
    for field, value in pairs(published) do
      if value ~= '' and value ~= redis.call('HGET', key, field) then
        news[#news + 1] = field
        news[#news + 1] = value
      end
    end
    if step == 'changed' then
      redis.call('HSET', key, 'state', target, 'since', now)
      redis.call('HINCRBY', key, 'epoch', 1)
      if target == 'DISCONNECTING' and flag_ttl ~= '' then
        redis.call('SET', flag, 'roomkeeper:' .. uid, 'PX', flag_ttl)
      end
    end
    if #news > 0 then
      redis.call('HSET', key, unpack(news))
    end
    if step == 'changed' or #news > 0 then
      redis.call('HINCRBY', key, 'seq', 1)
    end
  end
  reply[#reply + 1] = id
  reply[#reply + 1] = step
end
return reply
