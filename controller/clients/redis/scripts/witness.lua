
-- witness: write a verified LiveKit event to the shard's stream and, if it is about a participant of a Match that
-- lives, to the Match's ledger: so the reason of a disconnect outlives the operator. Creates no ledger.
-- KEYS 1 webhooks, 2 match (only if the event names a participant of one)
-- ARGV 1 cap of the stream, 2 identity, 3 event, 4 participant sid, 5 time of the event (ms), 6 time of joining (ms),
--      7 what the ledger gets (JSON), then field, value … of the stream's entry
-- OK entry-id stored|older|duplicate|settled|absent|unaddressed

local match = KEYS[2]
local identity, event, sid, at, joined = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local FINAL = {participant_left = true, participant_connection_aborted = true}

-- Webhooks come late, twice and in any order, and their times have a resolution of one second.
local function compare(last)
  if last.sid == sid then
    -- Nobody joins or leaves twice under one sid; the time of a repeated delivery may have been estimated anew.
    if last.event == event and (last.at == at or string.find(event, '^participant_')) then
      return 'duplicate'
    end
    -- Whoever left comes back under a new sid only.
    if FINAL[last.event] ~= FINAL[event] then
      return FINAL[event] and 'stored' or 'older'
    end
    return at < last.at and 'older' or 'stored'
  end
  if joined > 0 and last.joinedAtMs > 0 and joined ~= last.joinedAtMs then
    return joined < last.joinedAtMs and 'older' or 'stored'
  end
  return at < last.at and 'older' or 'stored'
end

local function verdict()
  if not match then
    return 'unaddressed'
  end
  local ledger = redis.call('HMGET', match, 'claimed', 'settled', 'last:' .. identity)
  if ledger[2] then
    return 'settled'
  end
  if not ledger[1] then
    return 'absent'
  end
  local is_json, last = pcall(cjson.decode, text(ledger[3]))
  if not is_json or type(last) ~= 'table' or type(last.at) ~= 'number' or type(last.joinedAtMs) ~= 'number' then
    return 'stored'
  end
  return compare(last)
end

local decided = verdict()
local entry = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, 8))
if decided == 'stored' then
  redis.call('HSET', match, 'last:' .. identity, ARGV[7])
end
return {'OK', entry, decided}
