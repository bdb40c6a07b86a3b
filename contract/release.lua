
-- release: put users whose reservation has run out back in their places. Call it before reading the queue.
--
-- KEYS
--   1 queue
--   2 reserved
--   3 reservations
-- ARGV
--   1 limit  how many users at most
-- ANSWERS
--   OK <id>*            these users are back in the queue
--   INVALID <sentence>  the request is wrong, and the sentence says what was expected
-- REDIS 6.2

local queue, reserved, reservations = KEYS[1], KEYS[2], KEYS[3]
local limit = at_least_one(ARGV[1])

if #KEYS ~= 3 or #ARGV ~= 1 then
  return {'INVALID', 'expected 3 keys (queue, reserved, reservations) and 1 argument (limit)'}
end
if not limit then
  return {'INVALID', 'expected a limit of 1 or more'}
end
local wrong = misplaced(KEYS, {'queue', 'reserved', 'reservations'})
if wrong then
  return wrong
end
local now = whole(server_ms())
local ids = redis.call('ZRANGEBYSCORE', reserved, '-inf', now, 'LIMIT', 0, whole(limit))
local reply = {'OK'}
for _, id in ipairs(ids) do
  -- If the place is unknown, a late place is better than none.
  redis.call('ZADD', queue, 'LT', reservation(reservations, id) or now, id)
  cancel_reservation(reserved, reservations, id)
  reply[#reply + 1] = id
end
return reply
