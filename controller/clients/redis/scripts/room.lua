
-- room: write or close the record of a LiveKit room. The name of a room is never used again, so a closed record stays
-- closed. The tombstone says so to late callers, also after the record has expired.
--
-- KEYS
--   3 room:<name>
--   4 room-deleted:<name>
--   5 events
-- ARGV
--   3 now            (ms)
--   4 ttl            of the record (ms)
--   5 tombstone-ttl  of the tombstone (ms); empty: write no tombstone
--   6 status         of the room
--   7+ field         of the record; without fields the request only closes an existing record
--   8+ value
-- ANSWERS
--   OK      the record says this status
--   OVER    the record is closed with another status
--   ABSENT  there is no record to close
-- REDIS 6.2

local room, tombstone, events = KEYS[3], KEYS[4], KEYS[5]
local now, ttl, tombstone_ttl, status = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local TERMINAL = {terminated = true, failed = true}

local refused = refusal(false)
if refused then
  return refused
end
if tombstone_ttl ~= '' then
  -- The value is the moment of the first closing; the TTL begins again with every request.
  redis.call('SET', tombstone, now, 'NX')
  redis.call('PEXPIRE', tombstone, tombstone_ttl)
end
local current = redis.call('HGET', room, 'status')
if current and TERMINAL[current] then
  -- The same final status again is a replay.
  return {current == status and 'OK' or 'OVER'}
end
-- A late write must not show a closing room as open.
if current == 'terminating' and not TERMINAL[status] and status ~= 'terminating' then
  return {'OVER'}
end
if #ARGV == 6 and not current then
  return {'ABSENT'}
end
if not TERMINAL[status] and status ~= 'terminating' and redis.call('EXISTS', tombstone) == 1 then
  return {'OVER'}
end

redis.call('HSET', room, 'status', status, 'lastUpdated', now, unpack(ARGV, 7))
redis.call('PEXPIRE', room, ttl)
if current ~= status then
  local record = redis.call('HMGET', room, 'roomName', 'sessionID')
  local livekit_name = string.match(room, '}:room:(.*)$')
  local subject = 'room/' .. escaped(livekit_name)
  publish_event(events, 'room.' .. status, subject .. '/' .. now .. '-' .. status, subject, now,
    '{"room":"' .. escaped(livekit_name) .. '","roomName":"' .. escaped(text(record[1])) .. '","sessionID":"'
    .. escaped(text(record[2])) .. '","status":"' .. status .. '"}')
end
return {'OK'}
