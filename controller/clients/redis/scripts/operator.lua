
-- operator.lua: the guard of every script that only the owner of a shard may run.
-- KEYS 1 incarnation, 2 fence of the shard · ARGV 1 the incarnation the caller knows, 2 the epoch of its Lease.

local RESTORING = '^restoring:'

-- The epoch is remembered even if the script refuses for another reason: it is true all the same.
local function stale()
  local seen = tonumber(redis.call('GET', KEYS[2]) or '0')
  local epoch = tonumber(ARGV[2])
  if epoch < seen then
    return {'STALE', whole(seen)}
  end
  if epoch > seen then
    redis.call('SET', KEYS[2], whole(epoch))
  end
  return nil
end

-- After a loss of data a ledger that is missing proves nothing, and a user could be taken twice: so nothing is done
-- until the ledgers are restored. While they are, only the restoring itself may write.
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

-- Flags of older clients: 'match:<uid>' names the call it is about and 'roomkeeper:<uid>' is ours, for clients that
-- poll; any other value is bare. A bare one that outlived its call would end the next, and so would ours.
local function delete_flags(flags, also_ours)
  for n, value in ipairs(redis.call('MGET', unpack(flags))) do
    local is_ours = value and string.find(value, '^roomkeeper:')
    if value and not string.find(value, '^match:') and (also_ours or not is_ours) then
      redis.call('DEL', flags[n])
    end
  end
end

-- `count` is the number of the Match's transitions, with this one; `more` is the rest of the data as JSON.
local function publish_match(events, phase, at, count, uid, name, session_id, more)
  uid, name = escaped(uid), escaped(name)
  local id = 'match/' .. uid .. '/' .. whole(count)
  publish_event(events, 'match.' .. string.lower(phase), id, 'match/' .. name, at, '{"match":"' .. uid
    .. '","matchName":"' .. name .. '","sessionID":"' .. escaped(session_id) .. '","phase":"' .. phase .. '",' .. more
    .. '}')
end
