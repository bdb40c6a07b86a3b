
-- flags: read the flags that older clients have set for some users. The keys are what the names of the flags begin with,
-- and the script appends the ids: thousands of names would cost the caller more than all the rest of the read.
--
-- KEYS
--   1 force-disconnect:
--   2 skip-in-progress:
--   3 pre-skip:
-- ARGV
--   1+ id   a user
-- ANSWERS
--   OK (<number of the key> <id> <value>)*
--       one group for each flag that is set
-- REDIS 6.2

-- Lua refuses to unpack more than about 8 000 values.
local AT_ONCE = 1000

local reply = {'OK'}
for number, stem in ipairs(KEYS) do
  for first = 1, #ARGV, AT_ONCE do
    local names = {}
    for n = first, math.min(first + AT_ONCE - 1, #ARGV) do
      names[#names + 1] = stem .. ARGV[n]
    end
    for n, value in ipairs(redis.call('MGET', unpack(names))) do
      if value then
        reply[#reply + 1] = whole(number)
        reply[#reply + 1] = ARGV[first + n - 1]
        reply[#reply + 1] = value
      end
    end
  end
end
return reply
