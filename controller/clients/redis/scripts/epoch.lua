
-- epoch: remember the highest epoch that any owner of the lease has had. If the Lease was deleted and made again, its
-- epoch begins at the bottom, and the new owner learns here what to go above. Fences of pools cannot tell: one wrong fence
-- would move the lease of all pools.
--
-- KEYS
--   1 rk-operator:{<cluster>}:epoch
-- ARGV
--   1 epoch  of the caller's Lease
--   2 most   an epoch above this one is no epoch, and is replaced
-- ANSWERS
--   OK <epoch>  the highest one by now
-- REDIS 6.2

local epoch, most = tonumber(ARGV[1]), tonumber(ARGV[2])
-- A key that another client damaged begins again: it must not hold up the pools of all namespaces.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'string' and kind ~= 'none' then
  redis.call('DEL', KEYS[1])
end
local seen = tonumber(redis.call('GET', KEYS[1]) or '0') or 0

if seen < epoch or seen > most then
  redis.call('SET', KEYS[1], whole(epoch))
  seen = epoch
end
return {'OK', whole(seen)}
