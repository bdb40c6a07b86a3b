-- common.lua: the first part of every script. Answers are flat arrays of strings whose first word tells what happened.
-- All checks come before the first write, and a script that refuses has written nothing.

-- tostring() would round a number to 14 digits.
local function whole(number)
  return string.format('%.0f', number)
end

-- Places in the queue come from this clock alone: two clocks in one queue would let some people jump it.
local function server_ms()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

-- HGET and HMGET answer false for what is missing.
local function text(value)
  return value or ''
end

-- A reservation is '<place in the queue> <name of the Match>': claim, release and leave need both without the user.
local function reservation(reservations, id)
  local entry = redis.call('HGET', reservations, id)
  if not entry then
    return nil
  end
  return string.match(entry, '^(%S+) (.*)$')
end

local function cancel_reservation(reserved, reservations, id)
  redis.call('ZREM', reserved, id)
  redis.call('HDEL', reservations, id)
end

-- Where a user waits: the score, the name of the Match they are reserved for (nil if they are in the queue itself).
-- A reservation whose deadline is over holds nobody, also before release.lua has put the user back.
local function place(queue, reserved, reservations, id)
  local score = redis.call('ZSCORE', queue, id)
  if score then
    return score
  end
  local kept, name = reservation(reservations, id)
  if not kept then
    return nil
  end
  local deadline = redis.call('ZSCORE', reserved, id)
  if not deadline or tonumber(deadline) <= server_ms() then
    return kept
  end
  return kept, name
end
