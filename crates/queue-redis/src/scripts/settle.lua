-- ARGV[4]: token; then for each settlement: member, outcome, after in milliseconds or empty, reason, and its
-- follow-up: queue or empty, member, lane, timing, reason.
local token = ARGV[4]
local replies = {}

local function one(index)
  local s = subject(ARGV[index])
  local old = read(Q, s)
  if not old then return 'gone' end
  if old.state ~= 'L' or old.token ~= token then
    count(Q, 'cnt', 'stale', 1)
    return 'stale'
  end
  local outcome = ARGV[index + 1]
  local settled, new = settle(copy(old), outcome, tonumber(ARGV[index + 2]), ARGV[index + 3], s.text)
  if settled ~= 'gone' then
    if outcome == 'finish' then count(Q, 'cnt', 'finished', 1) end
    if outcome == 'retry' then count(Q, 'cnt', 'retried', 1) end
    if settled == 'buried' then count(Q, 'cnt', 'buried_total', 1) end
  end
  store(Q, s, old, new)
  let_go(Q, token)
  return settled
end

for index = 5, #ARGV, 9 do
  local settled = one(index)
  local queue = ARGV[index + 4]
  if queue ~= '' and settled ~= 'stale' and settled ~= 'gone' then
    local request = request_of(tonumber(ARGV[index + 6]), ARGV[index + 7], ARGV[index + 8])
    merge(queue, subject(ARGV[index + 5]), request, ARGV[index + 7] == 'now')
  end
  replies[#replies + 1] = settled
end
flush()
return replies
