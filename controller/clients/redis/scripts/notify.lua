
-- notify: tell users' clients of something that is no transition: a signal that has no effect, a server that goes.
-- KEYS 3 … notify of each user
-- ARGV 3 now (ms), 4 type, 5 what it is about (nobody is told twice about one thing), then field, value …
-- OK how-many-were-told · STALE epoch · LOST

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
