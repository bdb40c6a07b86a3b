
-- incarnation: a value that Redis loses together with everything else, so that a loss is noticed.
-- KEYS 1 incarnation, 2 fence of the shard · ARGV 1 value, 2 epoch, 3 ENSURE|BEGIN|FINISH
-- OK current · STALE epoch (not ENSURE) · LOST (FINISH only)

local key, value, operation = KEYS[1], ARGV[1], ARGV[3]
local current = redis.call('GET', key)

if operation == 'ENSURE' then
  if not current then
    redis.call('SET', key, value)
    current = value
  end
  return {'OK', current}
end

local refused = stale()
if refused then
  return refused
end

if operation == 'BEGIN' then
  -- Another restoring that did not finish is taken over: its owner gets LOST from now on.
  if not current or string.find(current, RESTORING) then
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
