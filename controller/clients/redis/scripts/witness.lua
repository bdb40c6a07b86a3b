
-- witness: write a verified LiveKit event to the shard's stream. If the event is about a participant of a live Match,
-- also write it to the Match's ledger, so that the reason of a disconnect outlives the operator. This script creates no
-- ledger.
--
-- KEYS
--   1 webhooks:<shard>
--   2? match:<uid>  if the event names a participant of a Match
-- ARGV
--   1 cap       about so many entries stay in the stream
--   2 identity  the participant; may be empty
--   3 event     its type
--   4 sid       LiveKit's id of the participant
--   5 at        when it happened (ms)
--   6 joined    when the participant joined (ms)
--   7 last      what the ledger gets (JSON)
--   8+ field    of the stream's entry
--   9+ value
-- ANSWERS
--   OK <entry id> stored|older|duplicate|settled|absent|stranger|unaddressed  the entry, and what the ledger made of the
--       event; stranger: the participant is none of the Match's users
-- REDIS 6.2

local match = KEYS[2]
local identity, event, sid, at, joined = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local FINAL = {participant_left = true, participant_connection_aborted = true}

-- Webhooks arrive late, twice and in any order, and their times have a resolution of one second.
local function compare(last)
  if last.sid == sid then
    -- No participant joins or leaves twice under one sid; the estimated time may differ between two deliveries.
    if last.event == event and (last.at == at or string.find(event, '^participant_')) then
      return 'duplicate'
    end
    -- A participant who left comes back under a new sid.
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
  local ledger = redis.call('HMGET', match, 'claimed', 'settled', 'last:' .. identity, 'i:' .. identity)
  if ledger[2] then
    return 'settled'
  end
  if not ledger[1] then
    return 'absent'
  end
  -- Agents, and guests with names at random, would let the ledger grow.
  if not ledger[4] then
    return 'stranger'
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
