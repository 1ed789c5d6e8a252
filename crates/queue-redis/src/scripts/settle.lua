-- ARGV[4]: token; then the kinds of follow-ups; then for each settlement: `f` (finish), `t` (retry), `b` (bury) or `l`
-- (release), a `+` where a follow-up comes, else a blank, and the member; for `t` and `l` after how many milliseconds,
-- or empty; for `t` and `b` the reason; and the follow-up, its kind and its member. The reply: a letter for each.
local OUTCOME = { f = 'finish', t = 'retry', b = 'bury', l = 'release' }
local LETTER = { finished = 'f', waiting = 'w', buried = 'b', stale = 's', gone = 'g' }
local token = ARGV[4]
local replies = {}
local held = 0
-- Jobs that were finished and are gone, by where they were.
local finished = {}

-- The usual end: done, and not asked for again. Its texts go unread, and so does its record but for its end: no other
-- field is as long as a token.
local function finish(s, packed)
  local _, last = string.find(packed, token, 1, true)
  if not last or (#packed > last and string.sub(packed, last + 1, last + 2) ~= '||') then return false end
  forget_texts(s, string.sub(packed, last + 3))
  keep(s, nil)
  local home = s.home
  finished[home] = (finished[home] or 0) + 1
  held = held + 1
  return true
end

local function one(s, outcome, after, reason)
  local packed = packed_of(s)
  if not packed then return 'gone' end
  if outcome == 'finish' and finish(s, packed) then return 'finished' end
  local old = decode(s, packed)
  if old.state ~= 'L' or old.token ~= token then
    count(Q, 'cnt', 'stale', 1)
    return 'stale'
  end
  local settled, new = settle(copy(old), outcome, after, reason, text_of_subject(s))
  if settled ~= 'gone' then
    if outcome == 'finish' then count(Q, 'cnt', 'finished', 1) end
    if outcome == 'retry' then count(Q, 'cnt', 'retried', 1) end
    if settled == 'buried' then count(Q, 'cnt', 'buried_total', 1) end
  end
  store(s, old, new)
  held = held + 1
  return settled
end

local kinds, index = kinds_from(5)
local settlements, subjects = {}, {}
while index <= #ARGV do
  local text, outcome = ARGV[index], string.sub(ARGV[index], 1, 1)
  local said = { s = subject(Q, string.sub(text, 3)), outcome = OUTCOME[outcome], reason = '' }
  index = index + 1
  if outcome == 't' or outcome == 'l' then
    said.after = tonumber(ARGV[index])
    index = index + 1
  end
  if outcome == 't' or outcome == 'b' then
    said.reason = ARGV[index]
    index = index + 1
  end
  if string.sub(text, 2, 2) == '+' then
    said.kind = kinds[tonumber(ARGV[index])]
    said.follow_up = subject(said.kind.queue, ARGV[index + 1])
    subjects[#subjects + 1] = said.follow_up
    index = index + 2
  end
  settlements[#settlements + 1], subjects[#subjects + 1] = said, said.s
end
foresee(subjects)
for _, said in ipairs(settlements) do
  local settled = one(said.s, said.outcome, said.after, said.reason)
  if said.kind and settled ~= 'stale' and settled ~= 'gone' then
    merge(said.follow_up, said.kind.request)
  end
  replies[#replies + 1] = LETTER[settled]
end
for home, jobs in pairs(finished) do
  home.shrunk = true
  count(Q, 'rc', home.total, -jobs)
  count(Q, 'rc', home.repository .. ':L', -jobs)
  count(Q, 'cnt', 'L', -jobs)
  count(Q, 'cnt', 'finished', jobs)
end
if held > 0 then let_go(Q, token, held) end
flush()
return table.concat(replies)
