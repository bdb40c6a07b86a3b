
-- settle: release users from a Match; if final, end the Match. An ending is committed here: the first cause is stored
-- and stays, every later caller gets that one, and each user is released exactly once.
--
-- KEYS
--   3 queue
--   4 reserved
--   5 reservations
--   6 heartbeats
--   7 live
--   8 match:<uid>
--   9 session:<session>
--   10 events
--   11 disconnects
--   12+ user:<id>
--   13+ blocked:<id>
--   14+ recent:<id>
--   15+ notify:<id>
--   16+ force-disconnect:<id>
--   17+ skip-in-progress:<id>
--   18+ pre-skip:<id>
-- ARGV
--   3 now          (ms)
--   4 uid          of the Match
--   5 final        1 to end the Match, else 0
--   6 match-ttl    how long the ledger stays (ms)
--   7 idle-ttl     how long the record of an idle user stays (ms)
--   8 reason       of the end
--   9 initiator    of the end
--   10 message     about the end
--   11 evidence    of the end (JSON)
--   12 replaces    the one stored reason that this cause replaces; may be empty
--   13 match-name
--   14 session
--   15 notice      the sentence for the users
--   16 own-notice  the sentence for the users who caused the end; empty: the same
--   17+ id         a user
--   18+ decision   WAITING, IDLE or BACK
--   19+ place      ORIG or NOW
--   20+ detail     kept with the outcome
-- ANSWERS
--   OK new|replay <reason> <initiator> <message> <evidence> <end> (<id> WAITING:<place>|IDLE|LOST <detail>)*
--                    the stored cause and when it was stored (ms; empty if there is none yet), and what became of each
--                    user
--   INCOMPLETE <id>  a final request must name every user who is not released yet, also this one
--   UNCLAIMED        the Match has no ledger; never for a final request
-- REDIS 6.2

local KEYS_BEFORE, KEYS_PER_USER, ARGV_BEFORE, ARGV_PER_USER = 11, 7, 16, 4
local RECENT_PARTNERS, RECENT_TTL_MS = 20, 600000
local queue, reserved, reservations, heartbeats, live = KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local match, session, events, disconnects = KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local now, uid, final, match_ttl, idle_ttl = ARGV[3], ARGV[4], ARGV[5] == '1', ARGV[6], ARGV[7]
local reason, initiator, message, evidence, replaces = ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12]
local match_name, session_id, notice, own_notice = ARGV[13], ARGV[14], ARGV[15], ARGV[16]

local refused = refusal(false)
if refused then
  return refused
end

local ledger, members = {}, {}
local flat = redis.call('HGETALL', match)
for n = 1, #flat, 2 do
  ledger[flat[n]] = flat[n + 1]
  if string.sub(flat[n], 1, 2) == 'q:' then
    members[#members + 1] = string.sub(flat[n], 3)
  end
end
if not ledger.claimed and not ledger.settled and not final then
  return {'UNCLAIMED'}
end

local users, named = {}, {}
for n = 1, (#ARGV - ARGV_BEFORE) / ARGV_PER_USER do
  local k, a = KEYS_BEFORE + (n - 1) * KEYS_PER_USER, ARGV_BEFORE + (n - 1) * ARGV_PER_USER
  users[n] = {
    id = ARGV[a + 1], decision = ARGV[a + 2], place = ARGV[a + 3], detail = ARGV[a + 4],
    key = KEYS[k + 1], blocked = KEYS[k + 2], recent = KEYS[k + 3], notices = KEYS[k + 4],
    flags = {KEYS[k + 5], KEYS[k + 6], KEYS[k + 7]},
  }
  named[ARGV[a + 1]] = true
end
if final and not ledger.settled then
  for _, id in ipairs(members) do
    if not ledger['s:' .. id] and not named[id] then
      return {'INCOMPLETE', id}
    end
  end
end

-- The user's next place in the queue, or nil for idle. Sets the detail if that is not what the caller asked for. A user
-- who did not come from the queue is not put into it.
local function next_place(user)
  local original = ledger['q:' .. user.id]
  if original == '' or user.decision == 'IDLE' then
    return nil
  end
  if redis.call('EXISTS', user.blocked) == 1 then
    user.detail = 'Blocked'
    return nil
  end
  if user.decision == 'WAITING' and user.place == 'NOW' then
    return whole(server_ms())
  end
  return original
end

-- Matchmakers avoid pairs that just met, and pairs that one user declined. A rollback was no meeting.
local function remember_partners(user)
  if user.decision == 'BACK' then
    return
  end
  for _, id in ipairs(members) do
    if id ~= user.id then
      redis.call('ZADD', user.recent, now, id)
    end
  end
  -- The key of a user who talks all the time never expires, so its members are removed one by one.
  redis.call('ZREMRANGEBYSCORE', user.recent, '-inf', whole(now - RECENT_TTL_MS))
  redis.call('ZREMRANGEBYRANK', user.recent, 0, -RECENT_PARTNERS - 1)
  redis.call('PEXPIRE', user.recent, RECENT_TTL_MS)
end

local function release(user)
  local score = next_place(user)
  if score then
    -- LT: if there is an entry already, the earlier place wins.
    redis.call('ZADD', queue, 'LT', score, user.id)
    score = redis.call('ZSCORE', queue, user.id)
  end
  redis.call('HSET', user.key, 'state', score and 'WAITING' or 'IDLE', 'match', '', 'matchName', '', 'room', '',
    'url', '', 'sessionID', '', 'since', now, 'queuedAt', score or '', 'reason', ledger.endReason or reason)
  user.epoch = redis.call('HINCRBY', user.key, 'epoch', 1)
  user.seq = whole(redis.call('HINCRBY', user.key, 'seq', 1))
  user.state, user.score = score and 'WAITING' or 'IDLE', score
  if not score then
    redis.call('PEXPIRE', user.key, idle_ttl)
    redis.call('ZREM', heartbeats, user.id)
  end
  delete_flags(user.flags, false)
  return score and 'WAITING:' .. score or 'IDLE'
end

-- A place in the queue as a record has it: empty for a user who did not come from the queue. Lua reads more words as
-- numbers than Redis does as scores ('5 ', '0x10', '1e400'), so the number is written again.
local function place(known)
  local score = tonumber(known)
  if known == '' then
    return ''
  elseif not score or score ~= score then
    return whole(server_ms())
  elseif score == math.huge or score == -math.huge then
    return score > 0 and 'inf' or '-inf'
  end
  return whole(score)
end

-- No refusal from here on.
-- The ledger is lost, or there never was one: the record of each user tells whether the Match holds them, and from where.
-- A place that cannot be read is the last one.
if final and not ledger.claimed and not ledger.settled then
  for _, user in ipairs(users) do
    local known = redis.pcall('HMGET', user.key, 'match', 'queuedAt')
    if known[1] == uid and not ledger['q:' .. user.id] then
      local original = place(text(known[2]))
      ledger['q:' .. user.id] = original
      members[#members + 1] = user.id
      redis.call('HSET', match, 'q:' .. user.id, original)
    end
  end
end
local kind = 'replay'
local is_replaced = replaces ~= '' and ledger.endReason == replaces and reason ~= replaces
if not ledger.settled and ((not ledger.endAt and (final or reason ~= '')) or is_replaced) then
  kind = 'new'
  ledger.endReason, ledger.endInitiator, ledger.endMessage = reason, initiator, message
  ledger.endEvidence, ledger.endAt, ledger.endNotice, ledger.endOwnNotice = evidence, now, notice, own_notice
  redis.call('HSET', match, 'endReason', reason, 'endInitiator', initiator, 'endMessage', message,
    'endEvidence', evidence, 'endAt', now, 'endNotice', notice, 'endOwnNotice', own_notice)
end
local freed = {}
for _, user in ipairs(users) do
  local outcome = 's:' .. user.id
  if ledger['q:' .. user.id] and not ledger[outcome] and not ledger.settled then
    kind = 'new'
    local is_held = redis.call('HGET', user.key, 'match') == uid
    ledger[outcome] = is_held and release(user) or 'LOST'
    ledger['d:' .. user.id] = user.detail
    redis.call('HSET', match, outcome, ledger[outcome], 'd:' .. user.id, user.detail)
    freed[#freed + 1] = is_held and user or nil
  end
end
local is_over = final and not ledger.settled
local transitions = (tonumber(ledger.transitions or '') or 0) + 1
if is_over then
  kind = 'new'
  -- For a Match that has claimed no user this makes a tombstone: a claim that is still on its way is refused.
  redis.call('HSET', match, 'settled', '1', 'settledAt', now, 'transitions', whole(transitions))
  redis.call('PEXPIRE', match, match_ttl)
  -- The session id may belong to a later Match by now.
  if redis.call('GET', session) == uid then
    redis.call('PEXPIRE', session, match_ttl)
  end
end
-- Also where it was settled before: another client has listed it again.
if final then
  redis.call('ZREM', live, uid)
end

-- A Match that took no user does not take the reserved ones any more either: they wait again, in their places.
if is_over and not ledger.claimed then
  for _, user in ipairs(users) do
    local kept, reserved_for = reservation(reservations, user.id)
    if kept and reserved_for == match_name then
      redis.call('ZADD', queue, 'LT', kept, user.id)
      cancel_reservation(reserved, reservations, user.id)
    end
  end
end

match_name, session_id = ledger.matchName or match_name, ledger.sessionID or session_id
local end_reason, end_initiator = text(ledger.endReason), text(ledger.endInitiator)

-- The users who caused the end, as the evidence names them: 'you left' and 'the other one left' are two sentences.
local subjects = {}
if #freed > 0 and text(ledger.endOwnNotice) ~= '' then
  local is_json, known = pcall(cjson.decode, text(ledger.endEvidence))
  for _, id in ipairs(is_json and type(known) == 'table' and type(known.subject) == 'table' and known.subject or {}) do
    subjects[id] = true
  end
end

local function tell(user)
  local sentence = text(subjects[user.id] and ledger.endOwnNotice or ledger.endNotice)
  if end_reason == 'Failed' then
    notify(user.notices, now, 'error', 'code', 'MatchFailed', 'match', uid, 'matchName', match_name,
      'notice', sentence, 'state', user.state, 'seq', user.seq)
  else
    notify(user.notices, now, 'ended', 'match', uid, 'matchName', match_name, 'sessionID', session_id,
      'reason', end_reason, 'initiator', end_initiator, 'notice', sentence, 'state', user.state, 'seq', user.seq)
  end
  if user.score then
    notify(user.notices, now, 'requeued', 'match', uid, 'matchName', match_name, 'reason', end_reason,
      'place', user.score, 'seq', user.seq)
  end
end

local function publish_outcome(user)
  publish_user(events, now, {id = user.id, state = user.state, epoch = user.epoch, reason = end_reason,
    place = user.score, match = uid, match_name = match_name, detail = user.detail})
  -- A rollback disconnects no user: there was no call.
  if user.decision ~= 'BACK' then
    publish(disconnects, DISCONNECTS, 'user', user.id, 'match', uid, 'matchName', match_name, 'reason', end_reason,
      'initiator', end_initiator, 'targetState', user.state, 'at', now)
  end
end

local function publish_end()
  local outcomes = {}
  for n, id in ipairs(members) do
    local outcome, score = string.match(ledger['s:' .. id], '^([A-Z]+):?(.*)$')
    outcomes[n] = '{"user":"' .. escaped(id) .. '","outcome":"' .. escaped(outcome or 'LOST') .. '","place":'
      .. number(tonumber(score or '') and score) .. ',"detail":"' .. escaped(text(ledger['d:' .. id])) .. '"}'
  end
  publish_match(events, end_reason == 'Failed' and 'Failed' or 'Ended', now, transitions, uid, match_name, session_id,
    '"reason":"' .. escaped(end_reason) .. '","initiator":"' .. escaped(end_initiator) .. '","message":"'
    .. escaped(text(ledger.endMessage)) .. '","users":[' .. table.concat(outcomes, ',') .. ']')
end

for _, user in ipairs(freed) do
  tell(user)
  publish_outcome(user)
end
if is_over then
  publish_end()
end
-- At the very end: a damaged key of partners then costs nothing but itself, and the same request again is a replay.
for _, user in ipairs(freed) do
  remember_partners(user)
end

local reply = {'OK', kind, end_reason, end_initiator, text(ledger.endMessage),
  text(ledger.endEvidence), text(ledger.endAt)}
for _, user in ipairs(users) do
  reply[#reply + 1] = user.id
  reply[#reply + 1] = ledger['s:' .. user.id] or 'LOST'
  reply[#reply + 1] = text(ledger['d:' .. user.id])
end
return reply
