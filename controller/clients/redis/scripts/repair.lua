
-- repair: write the fields of a ledger again that make no sense. Another client wrote them. The fields that can be read
-- stay. Any replica may run it: it touches no field that has changed since.
--
-- KEYS
--   1 match:<uid>
-- ARGV
--   1+ field
--   2+ seen   its value, which cannot be read
--   3+ value  that it gets; empty: the field is removed
-- ANSWERS
--   OK <field>*  these fields were written again
-- REDIS 6.2

local match = KEYS[1]
local repaired = {'OK'}
for n = 1, #ARGV, 3 do
  local field, seen, value = ARGV[n], ARGV[n + 1], ARGV[n + 2]
  if redis.call('HGET', match, field) == seen then
    if value == '' then
      redis.call('HDEL', match, field)
    else
      redis.call('HSET', match, field, value)
    end
    repaired[#repaired + 1] = field
  end
end
return repaired
