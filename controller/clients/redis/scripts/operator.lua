
-- operator.lua: the guard of every script that only the owner of a shard may run. A script that begins with it has its
-- first keys and arguments, and its answers.
--
-- KEYS
--   1 incarnation
--   2 fence:<shard>
-- ARGV
--   1 incarnation  the incarnation of Redis that the caller knows
--   2 mark         <epoch>:<number>:<known>: the epoch of the caller's Lease, the number of this request, and the
--                  highest number that the caller knows to be done under this epoch; then, if the caller makes a
--                  trace of it, :<0 or 1>, whether that is kept
-- ANSWERS
--   STALE <epoch>  a caller with this higher epoch owns the shard by now
--   LOST           Redis has lost data since, or is being restored

local RESTORING = '^restoring:'
local DISCONNECTS = 10000
traced = string.match(ARGV[2], '^%d+:%d+:%d+:([01])$')

-- Advances the fence, `<epoch>:<number>`, even if the script then refuses for another reason: the request was made all
-- the same. A fence that is behind what the caller knows to be done is that of an older Redis: it came back from a
-- snapshot, or a replica that lagged took over. Returns the refusal or nil, and whether Redis is older.
local function advance_fence(accepts_older)
  local fence_epoch, fence_number = string.match(redis.call('GET', KEYS[2]) or '', '^([^:]*):?(.*)$')
  local seen, last = tonumber(fence_epoch) or 0, tonumber(fence_number) or 0
  local words = {}
  for word in string.gmatch(ARGV[2], '%d+') do
    words[#words + 1] = tonumber(word)
  end
  local epoch, number, known = words[1], words[2], words[3]
  if epoch < seen then
    return {'STALE', whole(seen)}, false
  end
  local is_older = known > 0 and (epoch > seen or known > last)
  if is_older and not accepts_older then
    return {'LOST'}, true
  end
  if epoch > seen or number > last then
    redis.call('SET', KEYS[2], whole(epoch) .. ':' .. whole(number), 'KEEPTTL')
  end
  return nil, is_older
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
  return (advance_fence(false))
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

-- `count` is the number of the Match's transitions including this one; `more` is the rest of the data as JSON; `kind` is
-- the event, without it that of the phase.
local function publish_match(events, phase, at, count, uid, name, session_id, more, kind)
  uid, name = escaped(uid), escaped(name)
  local id = 'match/' .. uid .. '/' .. whole(count)
  publish_event(events, 'match.' .. (kind or string.lower(phase)), id, 'match/' .. name, at, '{"match":"' .. uid
    .. '","matchName":"' .. name .. '","sessionID":"' .. escaped(session_id) .. '","phase":"' .. phase .. '",' .. more
    .. '}', uid)
end
