
-- notify: write a notice that belongs to no transition, such as a refused signal or the drain of a server, for users'
-- clients.
--
-- KEYS
--   3+ notify:<id>
-- ARGV
--   3 now     (ms)
--   4 type    of the notice
--   5 about   what the notice is about; no user gets two notices of one type about one thing
--   6+ field  of the notice
--   7+ value
-- ANSWERS
--   OK <count>  so many users got the notice
-- REDIS 6.2

local now, kind, about = ARGV[3], ARGV[4], ARGV[5]

local refused = refusal(false)
if refused then
  return refused
end

local function knows(notices)
  for _, entry in ipairs(redis.call('XRANGE', notices, '-', '+')) do
    local fields = {}
    for n = 1, #entry[2], 2 do
      fields[entry[2][n]] = entry[2][n + 1]
    end
    if fields.type == kind and fields.about == about then
      return true
    end
  end
  return false
end

local told = 0
for n = 3, #KEYS do
  if not knows(KEYS[n]) then
    notify(KEYS[n], now, kind, 'about', about, unpack(ARGV, 6))
    told = told + 1
  end
end
return {'OK', whole(told)}
