-- ARGV[4…]: the kinds of triggers; then triggers, `KIND|MEMBER`, of the delivery that was named last: `+ID`, or `+` for
-- none. The reply: a letter for each trigger.
local LETTER = { new = 'n', merged = 'm', dirty = 'd', revived = 'r' }
local seen = P .. 'deliveries'
local horizon = now - 4 * 86400000
local forgotten = false
local replies = {}

-- Remembers a delivery, and says whether it is new.
local function mark(delivery)
  if not forgotten then
    forgotten = true
    -- More than one call adds, and no more than a moment takes.
    local old = redis.call('ZRANGEBYSCORE', seen, '-inf', int(horizon), 'LIMIT', 0, 300)
    if #old > 0 then redis.call('ZREM', seen, unpack(old)) end
  end
  if redis.call('ZADD', seen, 'NX', int(now), delivery) == 1 then return true end
  if tonumber(redis.call('ZSCORE', seen, delivery)) > horizon then return false end
  redis.call('ZADD', seen, int(now), delivery)
  return true
end

local kinds, from = kinds_from(4)
local said, asked = {}, {}
for index = from, #ARGV do
  local text = ARGV[index]
  if string.sub(text, 1, 1) == '+' then
    said[#said + 1] = { delivery = string.sub(text, 2) }
  else
    local kind, s = trigger_of(kinds, text)
    said[#said + 1] = { kind = kind, s = s }
    local subjects = asked[kind.queue]
    if not subjects then
      subjects = {}
      asked[kind.queue] = subjects
    end
    subjects[#subjects + 1] = s
  end
end
for queue, subjects in pairs(asked) do foresee(queue, subjects) end
local seen_before = false
for _, one in ipairs(said) do
  local kind = one.kind
  if not kind then
    seen_before = one.delivery ~= '' and not mark(one.delivery)
  elseif seen_before then
    count(kind.queue, 'cnt', 'duplicate', 1)
    replies[#replies + 1] = 'x'
  else
    replies[#replies + 1] = LETTER[merge(kind.queue, one.s, kind.request, kind.hurry)]
  end
end
flush()
return table.concat(replies)
