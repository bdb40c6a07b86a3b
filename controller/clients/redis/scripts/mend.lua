
-- mend: remove keys of another type than they must have. Another client wrote them, and every script that meets one
-- fails. Nothing in such a key can be kept. Any replica may run it: it touches no record that can be read.
--
-- KEYS
--   1+ <any>  keys of one pool
-- ARGV
--   1+ type  that the key must have
-- ANSWERS
--   OK <key>*  these keys were removed
-- REDIS 6.2

local removed = {'OK'}
for n, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= ARGV[n] and kind ~= 'none' then
    redis.call('DEL', key)
    removed[#removed + 1] = key
  end
end
return removed
