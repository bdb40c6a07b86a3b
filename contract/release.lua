
-- release: put users whose reservation ran out back to their places. Call it before reading the queue.
-- KEYS 1 queue, 2 reserved, 3 reservations · ARGV 1 how many at most
-- OK id* · INVALID sentence

local queue, reserved, reservations = KEYS[1], KEYS[2], KEYS[3]
local limit = tonumber(ARGV[1] or '')

if #KEYS ~= 3 or #ARGV ~= 1 or not limit or limit < 1 then
  return {'INVALID', 'expected 3 keys (queue, reserved, reservations) and 1 argument (how many at most)'}
end
local now = whole(server_ms())
local ids = redis.call('ZRANGEBYSCORE', reserved, '-inf', now, 'LIMIT', 0, whole(limit))
local reply = {'OK'}
for _, id in ipairs(ids) do
  -- Should the place be unknown, a late one is better than none.
  redis.call('ZADD', queue, 'LT', reservation(reservations, id) or now, id)
  cancel_reservation(reserved, reservations, id)
  reply[#reply + 1] = id
end
return reply
