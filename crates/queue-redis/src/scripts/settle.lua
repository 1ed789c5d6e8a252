-- ARGV[4]: token; then for each settlement: member; `f` (finish), `t` (retry), `b` (bury) or `l` (release), with a `+`
-- where a follow-up comes; for `t` and `l` after how many milliseconds, or empty; for `t` and `b` the reason; and of the
-- follow-up: queue, member, lane, timing, reason. The reply: a letter for each.
local OUTCOME = { f = 'finish', t = 'retry', b = 'bury', l = 'release' }
local LETTER = { finished = 'f', waiting = 'w', buried = 'b', stale = 's', gone = 'g' }
local token = ARGV[4]
local replies = {}
local held = 0

local function one(s, outcome, after, reason)
  local packed = redis.call('HGET', key(Q, s.slot), s.field)
  if not packed then return 'gone' end
  local old = decode(Q, s, packed, true)
  if old.state ~= 'L' or old.token ~= token then
    count(Q, 'cnt', 'stale', 1)
    return 'stale'
  end
  -- A job that is done and not asked for again takes its texts along, whatever they say.
  if outcome ~= 'finish' or old.dirty then old = decode(Q, s, packed) end
  local settled, new = settle(copy(old), outcome, after, reason, s.text)
  if settled ~= 'gone' then
    if outcome == 'finish' then count(Q, 'cnt', 'finished', 1) end
    if outcome == 'retry' then count(Q, 'cnt', 'retried', 1) end
    if settled == 'buried' then count(Q, 'cnt', 'buried_total', 1) end
  end
  store(Q, s, old, new)
  held = held + 1
  return settled
end

local index = 5
while index <= #ARGV do
  local s, kind, after, reason = subject(ARGV[index]), string.sub(ARGV[index + 1], 1, 1), nil, ''
  local followed = #ARGV[index + 1] > 1
  index = index + 2
  if kind == 't' or kind == 'l' then
    after = tonumber(ARGV[index])
    index = index + 1
  end
  if kind == 't' or kind == 'b' then
    reason = ARGV[index]
    index = index + 1
  end
  local settled = one(s, OUTCOME[kind], after, reason)
  if followed then
    if settled ~= 'stale' and settled ~= 'gone' then
      local timing = ARGV[index + 3]
      local request = request_of(tonumber(ARGV[index + 2]), timing, ARGV[index + 4])
      merge(ARGV[index], subject(ARGV[index + 1]), request, timing == 'now')
    end
    index = index + 5
  end
  replies[#replies + 1] = LETTER[settled]
end
if held > 0 then let_go(Q, token, held) end
flush()
return table.concat(replies)
