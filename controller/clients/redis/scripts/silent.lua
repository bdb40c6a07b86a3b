
-- silent: find users who have beaten before but not for a while. The answer has two parts, each of limited length:
-- first the users who fell silent since the last search, the longest silent first; then, in turn, users known to be
-- silent, to see whether they still are.
--
-- KEYS
--   1 heartbeats
-- ARGV
--   1 silent-after   a user counts as silent this long after their last beat (ms)
--   2 late-after     a user counts as late this long after their last beat (ms)
--   3 known-to       users whose last beat is not after this moment are known (ms); empty: no user is known yet
--   4 looked-at-to   known users up to this last beat have had their turn (ms); empty: begin with the first
--   5 limit          so many users at most in each part
-- ANSWERS
--   OK <beating> <now> <stopped together> <known to> <looked at to> <new> (<id> <last beat>)*
--       beating counts all users with a beat; stopped together counts the users who stopped at the time of the first
--       new one, also those who are only late yet; new counts the users of the first part; looked at to is empty when
--       all known users have had their turn
-- REDIS 6.2

local TIES = 10
local heartbeats = KEYS[1]
local now, limit = server_ms(), tonumber(ARGV[5])
local silent, late = now - tonumber(ARGV[1]), now - tonumber(ARGV[2])
local known, looked_at = tonumber(ARGV[3]), tonumber(ARGV[4])

-- The clock went back: users who are silent by it may have beaten after `known`, so the search starts over.
if known and known > silent then
  known, looked_at = nil, nil
end

-- The members with a score above `after` and up to `up_to`, and the score up to which the page is complete. Members
-- with the same score as the last one are in the page too: the next page begins after that score and would miss them.
-- More than TIES times the limit of them come from no clients, and the others wait for no one.
local function page(after, up_to)
  local from = after and '(' .. whole(after) or '-inf'
  local rows = redis.call('ZRANGEBYSCORE', heartbeats, from, whole(up_to), 'WITHSCORES', 'LIMIT', 0, limit)
  if #rows < 2 * limit then
    return rows, nil
  end
  local last, ties = rows[#rows], 0
  while ties < limit and rows[#rows - 2 * ties] == last do
    ties = ties + 1
  end
  for _, part in ipairs(redis.call('ZRANGEBYSCORE', heartbeats, last, last, 'WITHSCORES', 'LIMIT', ties, TIES * limit)) do
    rows[#rows + 1] = part
  end
  return rows, last
end

local new, new_up_to = page(known, silent)
local old, old_up_to = {}, nil
if known then
  old, old_up_to = page(looked_at, known)
end
-- The beats of one gateway are spread over an interval. When the first of its users counts as silent, the others are
-- already late; when the last one does, the first ones have been silent for no longer than an interval.
local spread = tonumber(ARGV[2]) - tonumber(ARGV[1])
local crowd = #new > 0 and redis.call('ZCOUNT', heartbeats, whole(new[2] + spread), whole(late)) or 0

local reply = {'OK', whole(redis.call('ZCARD', heartbeats)), whole(now), whole(crowd), new_up_to or whole(silent),
  text(old_up_to), whole(#new / 2)}
for _, rows in ipairs({new, old}) do
  for _, part in ipairs(rows) do
    reply[#reply + 1] = part
  end
end
return reply
