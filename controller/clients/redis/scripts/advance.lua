
-- advance: move users of a Match forward, and publish what is known by now.
--
-- KEYS
--   3 match:<uid>
--   4 events
--   5+ user:<id>
--   6+ force-disconnect:<id>
--   7+ notify:<id>
-- ARGV
--   3 now        (ms)
--   4 uid        of the Match
--   5 phase      empty: as before
--   6 room       empty: as before
--   7 url        empty: as before
--   8 session    empty: as before
--   9 alone      1 if exactly one user is in the room, 0 if not; empty: as before
--   10 flag-ttl  how long clients that poll find the flag that ends the call (ms); empty: no flag
--   11 restored  LiveKit's id of a room that was made again after it was lost: users who are missing learn of it once;
--                empty: none
--   12+ id       a user
--   13+ state    to move the user to
--   14+ back-by  until when a missing user may be back (ms, 0 if that is not known); empty: the user is not missing
-- ANSWERS
--   OK (<id> changed|same|lost)*  lost: the Match does not hold this user
--   SETTLED                       the Match is over
--   UNCLAIMED                     the Match has no ledger
-- REDIS 6.2

local KEYS_BEFORE, KEYS_PER_USER, ARGV_BEFORE, ARGV_PER_USER = 4, 3, 11, 3
local TOGETHER_AGAIN_MS = 5000
local match, events = KEYS[3], KEYS[4]
local now, uid, phase, alone, flag_ttl = ARGV[3], ARGV[4], ARGV[5], ARGV[9], ARGV[10]
local PUBLISHED, published = {'room', 'url', 'sessionID'}, {ARGV[6], ARGV[7], ARGV[8]}

-- States only move up, so a late or repeated request never takes a user back. Users who reconnect stay IN_CALL.
local RANK = {CONNECTING = 1, IN_CALL = 2, DISCONNECTING = 3}
local JOINABLE = {Connecting = true, Active = true, Reconnecting = true}

local refused = refusal(false)
if refused then
  return refused
end
local ledger = redis.call('HMGET', match, 'claimed', 'settled', 'phase', 'aloneSince', 'aloneMs', 'togetherSince',
  'matchName', 'sessionID', 'transitions', 'rejoined')
if ledger[2] then
  return {'SETTLED'}
end
if not ledger[1] then
  return {'UNCLAIMED'}
end

local is_new_phase = phase ~= '' and phase ~= ledger[3]
local transitions = (tonumber(ledger[9] or '') or 0) + 1
if is_new_phase then
  redis.call('HSET', match, 'phase', phase, 'transitions', whole(transitions))
else
  phase = text(ledger[3])
end
if published[1] ~= '' then
  redis.call('HSET', match, 'room', published[1])
end
if published[2] ~= '' then
  redis.call('HSET', match, 'url', published[2])
end
local is_back = ARGV[11] ~= '' and ARGV[11] ~= ledger[10] and JOINABLE[phase]
local rejoins = is_new_phase and transitions + 1 or transitions
if is_back then
  redis.call('HSET', match, 'rejoined', ARGV[11], 'transitions', whole(rejoins))
end
-- Counts how long one user was alone in all. The count starts again once both users were there for a while. An empty
-- room does not restart it, so `not alone` is not enough: in the phase Active both are there.
local function count_alone()
  local alone_since, together_since = tonumber(ledger[4] or ''), tonumber(ledger[6] or '')
  local is_alone, is_together = alone == '1', alone == '0' and phase == 'Active'
  if alone_since and not is_alone then
    local total_ms = (tonumber(ledger[5] or '') or 0) + math.max(0, tonumber(now) - alone_since)
    redis.call('HDEL', match, 'aloneSince')
    redis.call('HSET', match, 'aloneMs', whole(total_ms))
  elseif is_alone and not alone_since then
    redis.call('HSET', match, 'aloneSince', now)
  end
  if together_since and not is_together then
    redis.call('HDEL', match, 'togetherSince')
    if not alone_since and tonumber(now) - together_since >= TOGETHER_AGAIN_MS then
      redis.call('HSET', match, 'aloneMs', '0')
    end
  elseif is_together and (alone_since or not together_since) then
    redis.call('HSET', match, 'togetherSince', now)
  end
end
if alone ~= '' then
  count_alone()
end

-- Writes the user's record, and notes what is new for the user's client: the state, or the room's address.
local function move(user, known)
  local is_up = (RANK[user.target] or 0) > (RANK[known[2]] or 0)
  user.state, user.seq, user.room, user.url = is_up and user.target or known[2], known[3], text(known[4]), text(known[5])
  local news = {}
  for n, name in ipairs(PUBLISHED) do
    if published[n] ~= '' and published[n] ~= known[3 + n] then
      news[#news + 1] = name
      news[#news + 1] = published[n]
      user[name], user.has_new_address = published[n], user.has_new_address or name ~= 'sessionID'
    end
  end
  if is_up then
    redis.call('HSET', user.key, 'state', user.state, 'since', now)
    user.epoch = redis.call('HINCRBY', user.key, 'epoch', 1)
    if user.state == 'DISCONNECTING' and flag_ttl ~= '' then
      redis.call('SET', user.flag, 'roomkeeper:' .. uid, 'PX', flag_ttl)
    end
  end
  if #news > 0 then
    redis.call('HSET', user.key, unpack(news))
  end
  user.is_called_back = is_back and user.back_until ~= ''
  if is_up or #news > 0 or user.is_called_back then
    user.seq = whole(redis.call('HINCRBY', user.key, 'seq', 1))
  end
  return is_up and 'changed' or 'same'
end

local users, reply = {}, {'OK'}
for n = 1, (#ARGV - ARGV_BEFORE) / ARGV_PER_USER do
  local k, a = KEYS_BEFORE + (n - 1) * KEYS_PER_USER, ARGV_BEFORE + (n - 1) * ARGV_PER_USER
  local user = {
    id = ARGV[a + 1], target = ARGV[a + 2], back_until = ARGV[a + 3],
    key = KEYS[k + 1], flag = KEYS[k + 2], notices = KEYS[k + 3],
  }
  local known = redis.call('HMGET', user.key, 'match', 'state', 'seq', 'room', 'url', 'sessionID')
  reply[#reply + 1] = user.id
  if known[1] == uid then
    users[#users + 1] = user
    reply[#reply + 1] = move(user, known)
  else
    reply[#reply + 1] = 'lost'
  end
end

local match_name, session_id = text(ledger[7]), text(ledger[8])
local missing, back_until = {}, nil
for _, user in ipairs(users) do
  if user.back_until ~= '' then
    missing[#missing + 1] = user
    local at = tonumber(user.back_until)
    back_until = at > 0 and math.min(at, back_until or at) or back_until
  end
end
back_until = back_until and whole(back_until) or ''

local function who_is_missing(user)
  local others = #missing - (user.back_until ~= '' and 1 or 0)
  return user.back_until == '' and (others > 0 and 'other' or '') or (others > 0 and 'both' or 'you')
end

for _, user in ipairs(users) do
  local is_called = user.has_new_address or (is_new_phase and phase == 'Connecting')
  if is_called and JOINABLE[phase] and user.room ~= '' then
    notify(user.notices, now, 'ready', 'match', uid, 'matchName', match_name, 'sessionID', session_id,
      'room', user.room, 'url', user.url, 'seq', user.seq)
  end
  if is_new_phase and phase == 'Reconnecting' then
    notify(user.notices, now, 'reconnecting', 'match', uid, 'matchName', match_name,
      'missing', who_is_missing(user), 'until', back_until, 'seq', user.seq)
  end
  if user.is_called_back then
    notify(user.notices, now, 'rejoin', 'match', uid, 'matchName', match_name, 'sessionID', session_id,
      'room', user.room, 'url', user.url, 'seq', user.seq)
  end
end

local function names_of_missing()
  local names = {}
  for n, user in ipairs(missing) do
    names[n] = '"' .. escaped(user.id) .. '"'
  end
  return '"missing":[' .. table.concat(names, ',') .. ']'
end

-- The event of the Match has the users' states too. Without that event, each user gets one of their own.
local function particulars()
  if phase == 'Connecting' then
    local user = users[1] or {}
    return ',"room":"' .. escaped(text(user.room)) .. '","url":"' .. escaped(text(user.url)) .. '"'
  end
  if phase == 'Reconnecting' then
    return ',' .. names_of_missing() .. ',"until":' .. number(back_until)
  end
  if phase == 'Terminating' then
    local cause = redis.call('HMGET', match, 'endReason', 'endInitiator', 'endMessage')
    return ',"reason":"' .. escaped(text(cause[1])) .. '","initiator":"' .. escaped(text(cause[2]))
      .. '","message":"' .. escaped(text(cause[3])) .. '"'
  end
  return ''
end

if is_new_phase then
  local states = {}
  for n, user in ipairs(users) do
    states[n] = '{"user":"' .. escaped(user.id) .. '","state":"' .. user.state .. '"}'
  end
  publish_match(events, phase, now, transitions, uid, match_name, session_id,
    '"users":[' .. table.concat(states, ',') .. ']' .. particulars())
else
  for _, user in ipairs(users) do
    if user.epoch then
      publish_user(events, now,
        {id = user.id, state = user.state, epoch = user.epoch, match = uid, match_name = match_name})
    end
  end
end

if is_back and #missing > 0 then
  publish_match(events, phase, now, rejoins, uid, match_name, session_id, names_of_missing()
    .. ',"room":"' .. escaped(missing[1].room) .. '","url":"' .. escaped(missing[1].url) .. '"', 'rejoin')
end
return reply
