
-- free: put a user right whom no Match that lives holds, or who waits in no queue. A user who still beats waits again, in
-- the place that their record knows; every other user is idle. Nothing happens if the user has moved on meanwhile.
--
-- KEYS
--   3 queue
--   4 reserved
--   5 reservations
--   6 heartbeats
--   7 live
--   8 user:<id>
--   9 blocked:<id>
--   10 notify:<id>
--   11 events
--   12? match:<uid>  of the Match that the record of the user names
-- ARGV
--   3 now       (ms)
--   4 id        the user
--   5 uid       of the Match that the record named when it was seen; empty for none
--   6 since     of the record, as it was seen
--   7 idle-ttl  how long the record of an idle user stays (ms)
--   8 silence   a user whose last beat is older does not wait any longer (ms)
--   9 reason    of the end of the Match
--   10 notice   the sentence for the user; empty: the user gets no notice
-- ANSWERS
--   OK waiting|idle|changed|held  the user waits again, or is idle; or has moved on; or the Match holds users
-- REDIS 6.2

local queue, reserved, reservations, heartbeats, live = KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local user, blocked, notices, events, match = KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12]
local now, id, uid, since, idle_ttl = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local silence, reason, notice = tonumber(ARGV[8]), ARGV[9], ARGV[10]
local HELD = {CONNECTING = true, IN_CALL = true, DISCONNECTING = true}

local refused = refusal(false)
if refused then
  return refused
end
local known = redis.call('HMGET', user, 'match', 'state', 'since', 'queuedAt', 'matchName', 'sessionID')
local state, queued_at = text(known[2]), tonumber(known[4] or '')
if text(known[1]) ~= uid or text(known[3]) ~= since then
  return {'OK', 'changed'}
end
local was_held = uid ~= '' or HELD[state]
if uid ~= '' then
  local is_ledger = redis.call('TYPE', match).ok == 'hash'
  local ledger = is_ledger and redis.call('HMGET', match, 'claimed', 'settled') or {}
  if redis.call('ZSCORE', live, uid) or (ledger[1] and not ledger[2]) then
    return {'OK', 'held'}
  end
elseif not was_held then
  local is_placed = redis.call('ZSCORE', queue, id) or redis.call('ZSCORE', reserved, id)
  if state ~= 'WAITING' or is_placed then
    return {'OK', 'changed'}
  end
end

-- No refusal from here on.
if not was_held then
  -- A reservation without a deadline never ends. It knows the place of the user better than the record.
  queued_at = tonumber(reservation(reservations, id) or '') or queued_at
  cancel_reservation(reserved, reservations, id)
end
local beat = tonumber(redis.call('ZSCORE', heartbeats, id) or '')
local is_there = beat and beat >= server_ms() - silence
local place
if is_there and queued_at and redis.call('EXISTS', blocked) == 0 then
  -- As after every ending: a user who had a call waits again, at the end.
  local had_call = state == 'IN_CALL' or state == 'DISCONNECTING'
  redis.call('ZADD', queue, 'LT', had_call and whole(server_ms()) or whole(queued_at), id)
  place = redis.call('ZSCORE', queue, id)
  if not was_held then
    redis.call('HSET', user, 'queuedAt', place)
    return {'OK', 'waiting'}
  end
end
if was_held then
  redis.call('HSET', user, 'state', place and 'WAITING' or 'IDLE', 'match', '', 'matchName', '', 'room', '', 'url', '',
    'sessionID', '', 'since', now, 'queuedAt', place or '', 'reason', reason)
else
  reason = 'Silent'
  redis.call('HSET', user, 'state', 'IDLE', 'since', now, 'queuedAt', '', 'reason', reason,
    'leftAt', whole(server_ms()), 'leftFor', '')
end
local epoch = redis.call('HINCRBY', user, 'epoch', 1)
local seq = whole(redis.call('HINCRBY', user, 'seq', 1))
if not place then
  redis.call('PEXPIRE', user, idle_ttl)
  redis.call('ZREM', heartbeats, id)
  redis.call('ZREM', queue, id)
end
state = place and 'WAITING' or 'IDLE'
-- A record that names no session belongs to a Match whose session has its UID.
local match_name, session_id = text(known[5]), text(known[6])
match_name, session_id = match_name ~= '' and match_name or uid, session_id ~= '' and session_id or uid
if notice ~= '' and uid ~= '' then
  notify(notices, now, 'ended', 'match', uid, 'matchName', match_name, 'sessionID', session_id, 'reason', reason,
    'initiator', '', 'notice', notice, 'state', state, 'seq', seq)
  if place then
    notify(notices, now, 'requeued', 'match', uid, 'matchName', match_name, 'reason', reason, 'place', place, 'seq', seq)
  end
elseif notice ~= '' and not was_held then
  notify(notices, now, 'left-queue', 'why', reason, 'seq', seq)
end
publish_user(events, now, {id = id, state = state, epoch = epoch, reason = reason, place = place,
  match = uid, match_name = match_name})
return {'OK', place and 'waiting' or 'idle'}
