
-- room: write or close the record of a LiveKit room. A name is never used again, so what is over stays over; a tombstone
-- says so to whoever comes late, also where there is no record (any more).
-- KEYS 3 room, 4 room-deleted, 5 events
-- ARGV 3 now (ms), 4 TTL (ms), 5 TTL of the tombstone (ms; empty: leave none), 6 status, then field, value … (none: only
-- close a record that is there)
-- OK · OVER · ABSENT (closing only) · STALE epoch · LOST

local room, tombstone, events = KEYS[3], KEYS[4], KEYS[5]
local now, ttl, tombstone_ttl, status = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local TERMINAL = {terminated = true, failed = true}

local refused = refusal(false)
if refused then
  return refused
end
if tombstone_ttl ~= '' then
  -- It tells when the room was closed first, and lasts from the last time that it was said.
  redis.call('SET', tombstone, now, 'NX')
  redis.call('PEXPIRE', tombstone, tombstone_ttl)
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
