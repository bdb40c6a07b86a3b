
-- silent: who has beaten before, and not for a while. Two parts, each bounded: those who fell silent since they were last
-- looked for, the longest silent first; and in turn those who were silent then, for whether they still are.
-- KEYS 1 heartbeats
-- ARGV 1 after how long (ms) somebody is silent, 2 after how long late, 3 the last beat up to which the silent are known,
--      4 the last beat up to which the known have had their turn (3 and 4: ms; empty: from the beginning),
--      5 how many at most in each part
-- OK how-many-beat-at-all now crowd known-up-to looked-at-up-to how-many-are-new (id last-beat)*
-- The new ones come first. `crowd` counts all who stopped with the first of them, also those who are merely late yet;
-- looked-at-up-to is empty when the known have all had their turn.

local heartbeats = KEYS[1]
local now, limit = server_ms(), tonumber(ARGV[5])
local silent, late = now - tonumber(ARGV[1]), now - tonumber(ARGV[2])
local known, looked_at = tonumber(ARGV[3]), tonumber(ARGV[4])

-- A clock that went back: who is silent by it may have beaten after what was known, so the search begins anew.
if known and known > silent then
  known, looked_at = nil, nil
end

-- The members after one score up to another, and up to which they are all in it. Whoever beat in the same millisecond as
-- the last one is among them, or the next page, which begins after that, would pass them over.
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
  for _, part in ipairs(redis.call('ZRANGEBYSCORE', heartbeats, last, last, 'WITHSCORES', 'LIMIT', ties, -1)) do
    rows[#rows + 1] = part
  end
  return rows, last
end

local new, new_up_to = page(known, silent)
local old, old_up_to = {}, nil
if known then
  old, old_up_to = page(looked_at, known)
end
-- Beats of one gateway are spread over an interval: when the first of its users counts as silent the others are late
-- already, and when the last one does the first ones have been silent for no longer than that.
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
