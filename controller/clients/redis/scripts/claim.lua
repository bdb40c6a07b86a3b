
-- claim: take all users for a Match, or none.
--
-- KEYS
--   3 queue
--   4 reserved
--   5 reservations
--   6 live
--   7 match:<uid>
--   8 session:<session>
--   9 events
--   10+ user:<id>
--   11+ blocked:<id>
--   12+ notify:<id>
--   13+ force-disconnect:<id>
--   14+ skip-in-progress:<id>
--   15+ pre-skip:<id>
-- ARGV
--   3 now         (ms)
--   4 uid         of the Match
--   5 mode        Any; Queued to take only users who wait; Restore to write again what Redis lost of a Match
--   6 state       that the users get
--   7 phase       of the Match
--   8 match-name
--   9 session
--   10 room       may be empty
--   11 url        may be empty
--   12 age        how long ago the Match was created (ms)
--   13+ id        a user
--   14+ alias     their identity on LiveKit
--   15+ place     their place in the queue as the Match's status remembers it, or empty; for Restore
-- ANSWERS
--   OK new|replay (<id> <place>)*  the Match holds all users; a user who did not wait has an empty place
--   BLOCKED <id>                   this user is blocked
--   BUSY <id> <match UID>          another Match holds this user
--   RESERVED <id> <match name>     this user is reserved for another Match
--   NOTQUEUED <id>                 this user does not wait (mode Queued), or left the queue and the Match may have been
--                                  made without knowing it
--   SETTLED                        the Match is over
-- REDIS 6.2

local KEYS_BEFORE, KEYS_PER_USER, ARGV_BEFORE, ARGV_PER_USER = 9, 6, 12, 3
local queue, reserved, reservations, live, match, session = KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local now, uid, mode, state, phase = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local events, match_name, session_id, room, url = KEYS[9], ARGV[8], ARGV[9], ARGV[10], ARGV[11]
local is_restore = mode == 'Restore'
-- So long after a user left the queue, a matchmaker may create a Match and still believe that the user waits.
local LEFT_GRACE_MS = 10000

local refused = refusal(is_restore)
if refused then
  return refused
end

local users = {}
for n = 1, (#ARGV - ARGV_BEFORE) / ARGV_PER_USER do
  local k, a = KEYS_BEFORE + (n - 1) * KEYS_PER_USER, ARGV_BEFORE + (n - 1) * ARGV_PER_USER
  users[n] = {
    id = ARGV[a + 1], alias = ARGV[a + 2], known_place = ARGV[a + 3],
    key = KEYS[k + 1], blocked = KEYS[k + 2], notices = KEYS[k + 3],
    flags = {KEYS[k + 4], KEYS[k + 5], KEYS[k + 6]},
  }
end

-- A key that is no hash was damaged, and nothing in it can be kept.
local function mend(key)
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'hash' and kind ~= 'none' then
    redis.call('DEL', key)
  end
end
if is_restore then
  mend(match)
  for _, user in ipairs(users) do
    mend(user.key)
  end
end

-- The ledger decides what is a replay, not the users: a user whom a partial settle has released would be taken again.
local ledger = redis.call('HMGET', match, 'claimed', 'settled', 'createdAt')
local is_claimed = ledger[1]
if ledger[2] then
  return {'SETTLED'}
end
if is_claimed then
  if is_restore then
    redis.call('ZADD', live, 'NX', tonumber(ledger[3] or '') and ledger[3] or now, uid)
  end
  local reply = {'OK', 'replay'}
  local is_complete = true
  for _, user in ipairs(users) do
    local of_user = redis.call('HMGET', match, 'q:' .. user.id, 's:' .. user.id)
    user.known_place = text(of_user[1])
    user.is_kept = of_user[2] or redis.call('HGET', user.key, 'match') == uid
    is_complete = is_complete and user.is_kept
    reply[#reply + 1] = user.id
    reply[#reply + 1] = user.known_place
  end
  if is_complete or not is_restore then
    return reply
  end
end

-- A lasting refusal comes before a passing one: BLOCKED for the second user outranks BUSY for the first. A call that
-- goes on is restored even if a user was blocked since.
for _, user in ipairs(users) do
  if not is_restore and redis.call('EXISTS', user.blocked) == 1 then
    return {'BLOCKED', user.id}
  end
end
for _, user in ipairs(users) do
  local known = redis.call('HMGET', user.key, 'match', 'leftAt', 'leftFor')
  local holder = not user.is_kept and known[1]
  user.left_at, user.left_for = tonumber(known[2] or ''), known[3]
  if holder and holder ~= '' and holder ~= uid then
    return {'BUSY', user.id, holder}
  end
end
-- Whether the user left the queue, and the Match may have been made without knowing it. The Match's age makes two clocks
-- comparable. A Match that the user was reserved for was chosen before, whenever it comes.
local made_at = server_ms() - tonumber(ARGV[12])
local function has_left(user)
  return user.left_at and (user.left_for == match_name or made_at < user.left_at + LEFT_GRACE_MS)
end
for _, user in ipairs(users) do
  local score, reserved_for = place(queue, reserved, reservations, user.id)
  if reserved_for and reserved_for ~= match_name and not is_restore then
    return {'RESERVED', user.id, reserved_for}
  end
  if not score and not is_restore and (mode == 'Queued' or has_left(user)) then
    return {'NOTQUEUED', user.id}
  end
  user.place = text(score)
  -- A user who entered the queue again after the loss has a later place than the Match's status remembers.
  if is_restore and user.known_place ~= '' then
    user.place = user.known_place
  end
end

-- No refusal from here on.
-- Signals and beats carry times of this server's clock and are compared with takenAt.
-- The count of transitions makes the ids of events. A restored Match goes on above any count that it may have had.
local taken_at = whole(server_ms())
-- The keys that all Matches share come first: if one of them is damaged, the script fails before it has begun. So it does
-- if the operator may not take users out of the queue: no user has an empty id.
redis.call('ZREM', queue, '')
redis.call('ZADD', live, 'NX', now, uid)
if not is_claimed then
  redis.call('HSET', match, 'claimed', '1', 'createdAt', now, 'takenAt', taken_at, 'phase', phase,
    'matchName', match_name, 'sessionID', session_id, 'room', room, 'transitions', is_restore and taken_at or '1')
end
redis.call('SET', session, uid)
local function take(user)
  redis.call('HSET', match, 'q:' .. user.id, user.place, 'i:' .. user.alias, user.id)
  redis.call('ZREM', queue, user.id)
  cancel_reservation(reserved, reservations, user.id)
  redis.call('HSET', user.key, 'state', state, 'match', uid, 'matchName', match_name, 'room', room, 'url', url,
    'sessionID', session_id, 'since', now, 'queuedAt', user.place, 'reason', '', 'leftAt', '', 'leftFor', '')
  redis.call('HINCRBY', user.key, 'epoch', 1)
  user.seq = redis.call('HINCRBY', user.key, 'seq', 1)
  redis.call('PERSIST', user.key)
  delete_flags(user.flags, true)
end
local reply = {'OK', 'new'}
for _, user in ipairs(users) do
  if not user.is_kept then
    take(user)
  end
  reply[#reply + 1] = user.id
  reply[#reply + 1] = user.is_kept and user.known_place or user.place
end

-- A restored Match was announced when it was first claimed.
if not is_restore then
  local members = {}
  for n, user in ipairs(users) do
    notify(user.notices, now, 'matched', 'match', uid, 'matchName', match_name, 'sessionID', session_id,
      'seq', whole(user.seq))
    members[n] = '{"user":"' .. escaped(user.id) .. '","state":"' .. state .. '","place":' .. number(user.place) .. '}'
  end
  publish_match(events, phase, now, 1, uid, match_name, session_id, '"users":[' .. table.concat(members, ',') .. ']')
end
return reply
