
-- errors: add to the records of errors: of one pool, or of those that belong to no pool. Errors of one code, step and
-- object are one record. Any replica may run it.
--
-- KEYS
--   1 errors
--   2 errors-seen
--   3 errors-hour:<hour>
-- ARGV
--   1 now       (ms)
--   2 ttl       after so long without a new error nothing is left of a record (ms)
--   3 most      so many records stay, those that were seen last
--   4 writer    the replica
--   5 number    of the request; a replica never uses one twice
--   6 counts    what happened in this hour: a JSON object of counters and numbers
--   7+ id       of a record
--   8+ count    so many more errors
--   9+ first    when the first of them happened (ms)
--   10+ last    when the last of them happened (ms)
--   11+ record  what is known about the last one (JSON)
-- ANSWERS
--   OK new|replay  everything is written; replay: it was written before
-- REDIS 6.2

local HOUR_MS, AT_ONCE = 3600000, 1000
local records, seen, hour = KEYS[1], KEYS[2], KEYS[3]
local now, ttl, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

-- Statistics are not worth an error: a key that another client damaged begins again.
for n, kind in ipairs({'hash', 'zset', 'hash'}) do
  local found = redis.call('TYPE', KEYS[n]).ok
  if found ~= kind and found ~= 'none' then
    redis.call('DEL', KEYS[n])
  end
end

local written = tonumber(redis.call('HGET', hour, 'writer:' .. ARGV[4]) or '0') or 0
if written >= tonumber(ARGV[5]) then
  return {'OK', 'replay'}
end
redis.call('HSET', hour, 'writer:' .. ARGV[4], ARGV[5])

local function forget(ids)
  if #ids > 0 then
    redis.call('HDEL', records, unpack(ids))
    redis.call('ZREM', seen, unpack(ids))
  end
end

forget(redis.call('ZRANGEBYSCORE', seen, '-inf', whole(now - ttl), 'LIMIT', 0, AT_ONCE))
for n = 7, #ARGV, 5 do
  local id, count, first, last = ARGV[n], tonumber(ARGV[n + 1]), tonumber(ARGV[n + 2]), tonumber(ARGV[n + 3])
  local before, since = string.match(redis.call('HGET', records, id) or '', '^(%d+) (%d+) %d+ ')
  if before then
    count, first = count + tonumber(before), math.min(first, tonumber(since))
  end
  redis.call('HSET', records, id, whole(count) .. ' ' .. whole(first) .. ' ' .. whole(last) .. ' ' .. ARGV[n + 4])
  redis.call('ZADD', seen, whole(last), id)
end
local surplus = redis.call('ZCARD', seen) - most
if surplus > 0 then
  forget(redis.call('ZRANGE', seen, 0, math.min(surplus, AT_ONCE) - 1))
end
for counter, number in pairs(cjson.decode(ARGV[6])) do
  redis.call('HINCRBY', hour, counter, whole(number))
end
redis.call('PEXPIRE', records, whole(ttl))
redis.call('PEXPIRE', seen, whole(ttl))
redis.call('PEXPIRE', hour, whole(ttl + HOUR_MS))
return {'OK', 'new'}
