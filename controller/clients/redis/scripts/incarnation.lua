
-- incarnation: a value that Redis loses together with all other data, and that the operator replaces when it finds an
-- older Redis, so that every request from before is refused.
--
-- KEYS
--   1 incarnation
--   2 fence:<shard>
-- ARGV
--   1 value      to store, or for FINISH the one that BEGIN stored
--   2 mark       as in operator.lua; ENSURE does not look at it
--   3 operation  ENSURE, BEGIN or FINISH
-- ANSWERS
--   OK <incarnation>  this is stored now
--   STALE <epoch>     a caller with this higher epoch owns the shard by now; never for ENSURE
--   LOST              the data was lost again during the restore; for FINISH only
-- REDIS 6.2

local key, value, operation = KEYS[1], ARGV[1], ARGV[3]
local current = redis.call('GET', key)

if operation == 'ENSURE' then
  if not current then
    redis.call('SET', key, value)
    current = value
  end
  return {'OK', current}
end

local refused, is_older = advance_fence(operation == 'BEGIN')
if refused then
  return refused
end

if operation == 'BEGIN' then
  -- An unfinished restore of another owner is taken over: that owner gets LOST from now on.
  if not current or is_older or string.find(current, RESTORING) then
    redis.call('SET', key, value)
    current = value
  end
  return {'OK', current}
end

-- FINISH: ARGV 1 is the value of BEGIN.
local final_value = string.gsub(value, RESTORING, '')
if current == value then
  redis.call('SET', key, final_value)
  current = final_value
end
if current ~= final_value then
  return {'LOST'}
end
return {'OK', current}
