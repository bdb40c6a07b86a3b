
-- sweeps: take, keep or give back the lock of the sweeps, and write down how far they are and what they did. Only one
-- sweep works at a time, also beside one that was begun by hand. The lock of an operator falls to the next one at once.
--
-- KEYS
--   1 rk-operator:{<cluster>}:sweep-lock:<lease>
--   2 rk-operator:{<cluster>}:sweeps:<lease>
-- ARGV
--   1 owner   of the lock: operator/<epoch>/<replica>, or any other text
--   2 ttl     how long the lock holds without being kept (ms); 0 gives it back
--   3 force   1 to take it away from another owner, else 0
--   4 keep    how long the notes stay after the last one (ms)
--   5+ field  of the notes
--   6+ value
-- ANSWERS
--   OK (<field> <value>)*  the lock is the caller's, or free; all notes
--   BUSY <owner>           another sweep works
-- REDIS 6.2

local lock, notes = KEYS[1], KEYS[2]
local owner, ttl, force, keep = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[4]
local OPERATOR, LONGEST_MS = '^operator/(%d+)/', 600000

-- A key that another client damaged begins again. So does a lock without an end, or with one that is far away: nothing
-- else would ever take it off.
for n, kind in ipairs({'string', 'hash'}) do
  local found = redis.call('TYPE', KEYS[n]).ok
  if found ~= kind and found ~= 'none' then
    redis.call('DEL', KEYS[n])
  end
end
local left = redis.call('PTTL', lock)
if left == -1 or left > LONGEST_MS then
  redis.call('DEL', lock)
end

local holder = redis.call('GET', lock) or owner
local theirs, ours = string.match(holder, OPERATOR), string.match(owner, OPERATOR)
local is_outdated = theirs and ours and tonumber(theirs) < tonumber(ours)
if holder ~= owner and not is_outdated and not force then
  return {'BUSY', holder}
end
if ttl == '0' then
  redis.call('DEL', lock)
else
  redis.call('SET', lock, owner, 'PX', ttl)
end
if #ARGV > 4 then
  redis.call('HSET', notes, unpack(ARGV, 5))
  redis.call('PEXPIRE', notes, keep)
end
return {'OK', unpack(redis.call('HGETALL', notes))}
