
-- silent: who has beaten before, and not for a while.
-- KEYS 1 heartbeats · ARGV 1 for how long (ms), 2 how many at most
-- OK how-many-beat-at-all now (id last-beat)*

local now = server_ms()
local after = whole(now - tonumber(ARGV[1]))
local reply = {'OK', whole(redis.call('ZCARD', KEYS[1])), whole(now)}
for _, part in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', after, 'WITHSCORES', 'LIMIT', 0, ARGV[2])) do
  reply[#reply + 1] = part
end
return reply
