
-- lasting: of some keys of a pool, tell those that have no TTL and that no list names, with what says how old they are.
-- The queue or `reserved` names a user who waits; `live` names a Match that holds users, and with it those users. This
-- script changes nothing, so any replica may run it. It reads a session only if that was idle for long, because each read
-- begins the idle time again.
--
-- KEYS
--   1 queue
--   2 reserved
--   3 live
--   4+ <any>  keys of the pool
-- ARGV
--   1 idle    a session is read if it was idle for so long (s)
--   2+ field  to read of the records of users, rooms and Matches, where the first two are the state and the Match
-- ANSWERS
--   OK (<key> <type> <idle> <value> <field>*)*  idle is empty where Redis does not tell it (s); the
--       value is that of a session, or the time of the newest entry of a stream (ms)
-- REDIS 6.2

local queue, reserved, live = KEYS[1], KEYS[2], KEYS[3]
local least_idle = tonumber(ARGV[1])
local HAS_FIELDS = {user = true, room = true, match = true}
local fields = {unpack(ARGV, 2)}

-- A list of the wrong type does not say that a member is missing: the error counts as an answer.
local function has(list, member)
  return redis.pcall('ZSCORE', list, member)
end

local function is_listed(stem, id, state, uid)
  if stem == 'user' and uid == '' and state == 'WAITING' then
    return has(queue, id) or has(reserved, id)
  end
  local match = stem == 'match' and id or uid
  return match ~= '' and has(live, match)
end

local reply = {'OK'}
local function tell(row, idle, key, kind, value)
  for _, part in ipairs({key, kind, type(idle) == 'number' and whole(idle) or '', value}) do
    reply[#reply + 1] = part
  end
  for place = 1, #fields do
    reply[#reply + 1] = text(row[place])
  end
end

for n = 4, #KEYS do
  local key = KEYS[n]
  if redis.call('PTTL', key) == -1 then
    local stem, id = string.match(key, '}:([%w-]+):(.*)$')
    -- In this order: the idle time is that before we read.
    local kind, idle, value = redis.call('TYPE', key).ok, redis.pcall('OBJECT', 'IDLETIME', key), ''
    local row = HAS_FIELDS[stem] and redis.pcall('HMGET', key, unpack(fields)) or {}
    if row.err then
      tell({}, idle, key, kind, '')
    elseif HAS_FIELDS[stem] then
      if not is_listed(stem, id, text(row[1]), text(row[2])) then
        tell(row, idle, key, kind, '')
      end
    else
      if stem == 'session' and kind == 'string' and (type(idle) ~= 'number' or idle >= least_idle) then
        value = redis.call('GET', key)
      elseif kind == 'stream' then
        local newest = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
        value = newest and string.match(newest[1], '^%d+') or ''
      end
      tell({}, idle, key, kind, value)
    end
  end
end
return reply
