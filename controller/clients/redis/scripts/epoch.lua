
-- epoch: remember, per Lease, the highest epoch that any owner of it has had. If a Lease was deleted and made again, its
-- epoch begins at the bottom, and the new owner learns here what to go above. Two installations with one cluster id have
-- a Lease each, and neither has to go above the other. Fences of pools cannot tell: one wrong fence would move the Lease
-- of all pools.
--
-- KEYS
--   1 rk-operator:{<cluster>}:epoch
-- ARGV
--   1 lease  of the caller: <namespace>/<name>
--   2 epoch  of the caller's Lease; 0 to read only
--   3 most   an epoch above this one is no epoch: it does not count, and one of this Lease is replaced
-- ANSWERS
--   OK <own> <highest>  the highest epoch of this Lease by now, and that of all Leases
-- REDIS 6.2

local epochs, lease, epoch, most = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local MOST_LEASES = 64

-- Version 0.1 has one epoch for all Leases, which becomes that of the Lease '': each Lease has to go above it. Any other type is damage: it must not hold up the pools of all namespaces.
local function convert()
  local kind = redis.call('TYPE', epochs).ok
  if kind == 'hash' or kind == 'none' then
    return
  end
  local only = kind == 'string' and tonumber(redis.call('GET', epochs))
  redis.call('DEL', epochs)
  if only then
    redis.call('HSET', epochs, '', whole(only))
  end
end

convert()
local own, written, highest, leases, lowest, least = 0, 0, 0, 0, nil, nil
local found = redis.call('HGETALL', epochs)
for n = 1, #found, 2 do
  local seen = tonumber(found[n + 1]) or 0
  if seen <= most then
    highest = math.max(highest, seen)
    written = found[n] == lease and seen or written
    if found[n] == lease or found[n] == '' then
      own = math.max(own, seen)
    end
  end
  if found[n] ~= lease then
    leases = leases + 1
    if not least or seen < least then
      lowest, least = found[n], seen
    end
  end
end
if written < epoch then
  own, highest = math.max(own, epoch), math.max(highest, epoch)
  redis.call('HSET', epochs, lease, whole(epoch))
  if leases >= MOST_LEASES then
    redis.call('HDEL', epochs, lowest)
  end
end
return {'OK', whole(own), whole(highest)}
