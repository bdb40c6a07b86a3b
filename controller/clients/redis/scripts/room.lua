
-- room: write or close the record of a LiveKit room. A name is never used again, so what is over stays over.
-- KEYS 3 room, 4 room-deleted, 5 events
-- ARGV 3 now (ms), 4 TTL (ms), 5 status, then field, value … (none: only close a record that is there)
-- OK · OVER · ABSENT (closing only) · STALE epoch · LOST

local room, tombstone, events = KEYS[3], KEYS[4], KEYS[5]
local now, ttl, status = ARGV[3], ARGV[4], ARGV[5]
local TERMINAL = {terminated = true, failed = true}

local refused = refusal(false)
if refused then
  return refused
end
local current = redis.call('HGET', room, 'status')
if current and TERMINAL[current] then
  -- The same last word again is a replay.
  return {current == status and 'OK' or 'OVER'}
end
-- A late write must not show a room as open that is being closed.
if current == 'terminating' and not TERMINAL[status] and status ~= 'terminating' then
  return {'OVER'}
end
if #ARGV == 5 and not current then
  return {'ABSENT'}
end
if not TERMINAL[status] and status ~= 'terminating' and redis.call('EXISTS', tombstone) == 1 then
  return {'OVER'}
end

redis.call('HSET', room, 'status', status, 'lastUpdated', now, unpack(ARGV, 6))
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
