
-- lasting: of some keys of a pool, tell those that have no TTL, with what says how old they are. It changes nothing, so
-- any replica may run it. A session is read only if it was not touched for long: a read begins its idle time again.
--
-- KEYS
--   1 queue
--   2 reservations
--   3+ <any>  keys of the pool
-- ARGV
--   1 idle    a session is read if it was idle for so long (s)
--   2+ field  to read of the records of users, rooms and Matches
-- ANSWERS
--   OK (<key> <type> <idle> <value> <placed> <field>*)*  idle is empty where Redis does not tell it (s); the value is that
--       of a session, or the time of the newest entry of a stream (ms); placed is 1 for a user in the queue or reserved
-- REDIS 6.2

local queue, reservations = KEYS[1], KEYS[2]
local least_idle = tonumber(ARGV[1])
local HAS_FIELDS = {user = true, room = true, match = true}
local fields = {unpack(ARGV, 2)}

-- A queue that cannot be read says of no user that they are not in it.
local function placed(id)
  local score = redis.pcall('ZSCORE', queue, id)
  local kept = redis.pcall('HEXISTS', reservations, id)
  return (score or kept ~= 0) and '1' or ''
end

local reply = {'OK'}
for n = 3, #KEYS do
  local key = KEYS[n]
  if redis.call('PTTL', key) == -1 then
    -- In this order: the idle time is that before we read.
    local kind, idle = redis.call('TYPE', key).ok, redis.pcall('OBJECT', 'IDLETIME', key)
    idle = type(idle) == 'number' and idle or nil
    local stem, id = string.match(key, '}:([%w-]+):(.*)$')
    local value, row = '', {}
    if stem == 'session' and kind == 'string' and (not idle or idle >= least_idle) then
      value = redis.call('GET', key)
    elseif kind == 'stream' then
      local newest = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
      value = newest and string.match(newest[1], '^%d+') or ''
    elseif kind == 'hash' and HAS_FIELDS[stem] then
      row = redis.call('HMGET', key, unpack(fields))
    end
    for _, part in ipairs({key, kind, idle and whole(idle) or '', value, stem == 'user' and placed(id) or ''}) do
      reply[#reply + 1] = part
    end
    for place = 1, #fields do
      reply[#reply + 1] = text(row[place])
    end
  end
end
return reply
