
-- unreserve: put users whose reservation is over back in their places, as `release` does, where no matchmaker does it.
--
-- KEYS
--   3 queue
--   4 reserved
--   5 reservations
-- ARGV
--   3+ id  a user
-- ANSWERS
--   OK <id>*  these users are back in the queue; the others are not reserved any longer, or for some time yet
-- REDIS 6.2

local queue, reserved, reservations = KEYS[3], KEYS[4], KEYS[5]

local refused = refusal(false)
if refused then
  return refused
end
local now = server_ms()
local reply = {'OK'}
for n = 3, #ARGV do
  local id = ARGV[n]
  local deadline = tonumber(redis.call('ZSCORE', reserved, id) or '')
  if deadline and deadline <= now then
    -- If the place is unknown, a late place is better than none.
    redis.call('ZADD', queue, 'LT', reservation(reservations, id) or whole(now), id)
    cancel_reservation(reserved, reservations, id)
    reply[#reply + 1] = id
  end
end
return reply
