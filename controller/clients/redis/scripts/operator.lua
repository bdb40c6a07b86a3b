
-- operator.lua: the guard of every script that only the owner of a shard may run. A script that begins with it has its
-- first keys and arguments, and its answers.
--
-- KEYS
--   1 incarnation
--   2 fence:<shard>
-- ARGV
--   1 incarnation  the incarnation of Redis that the caller knows
--   2 epoch        the epoch of the caller's Lease
-- ANSWERS
--   STALE <epoch>  a caller with this higher epoch owns the shard by now
--   LOST           Redis has lost its data since, or is being restored

local RESTORING = '^restoring:'
local DISCONNECTS = 10000

-- Stores a higher epoch even if the script then refuses for another reason: the epoch is true all the same.
local function stale()
  local seen = tonumber(redis.call('GET', KEYS[2]) or '0')
  local epoch = tonumber(ARGV[2])
  if epoch < seen then
    return {'STALE', whole(seen)}
  end
  if epoch > seen then
    redis.call('SET', KEYS[2], whole(epoch), 'KEEPTTL')
  end
  return nil
end

-- After a loss of data a missing ledger proves nothing, and a user could be taken twice. So no script writes until the
-- ledgers are restored; during the restore only the restore itself may write.
local function refusal(is_restore)
  local current = redis.call('GET', KEYS[1])
  if not current or current ~= ARGV[1] then
    return {'LOST'}
  end
  if string.find(current, RESTORING) and not is_restore then
    return {'LOST'}
  end
  return stale()
end

-- Flags of older clients: the value 'match:<uid>' names the call that it is about, and 'roomkeeper:<uid>' is our own,
-- for clients that poll. Any other value is bare. A bare flag that outlives its call would end the next call; so would
-- ours.
local function delete_flags(flags, also_ours)
  for n, value in ipairs(redis.call('MGET', unpack(flags))) do
    local is_ours = value and string.find(value, '^roomkeeper:')
    if value and not string.find(value, '^match:') and (also_ours or not is_ours) then
      redis.call('DEL', flags[n])
    end
  end
end

-- `count` is the number of the Match's transitions including this one; `more` is the rest of the data as JSON.
local function publish_match(events, phase, at, count, uid, name, session_id, more)
  uid, name = escaped(uid), escaped(name)
  local id = 'match/' .. uid .. '/' .. whole(count)
  publish_event(events, 'match.' .. string.lower(phase), id, 'match/' .. name, at, '{"match":"' .. uid
    .. '","matchName":"' .. name .. '","sessionID":"' .. escaped(session_id) .. '","phase":"' .. phase .. '",' .. more
    .. '}')
end
