-- ARGV[4…]: the kinds of triggers; then members, each of the delivery and of the kind that were named last: `+ID`, or `+`
-- for none; `@KIND`. The reply: a letter for each member.
local LETTER = { new = 'n', merged = 'm', dirty = 'd', revived = 'r' }
local DELIVERY, KIND = 43, 64

-- Of deliveries, those that came before, within the time that they are remembered.
local function seen_before(deliveries)
  local seen = {}
  if #deliveries == 0 then return seen end
  local name, horizon = P .. 'deliveries', now - 4 * 86400000
  -- More than one call adds, and no more than a moment takes.
  local old = redis.call('ZRANGEBYSCORE', name, '-inf', int(horizon), 'LIMIT', 0, 300)
  if #old > 0 then redis.call('ZREM', name, unpack(old)) end
  local times = redis.call('ZMSCORE', name, unpack(deliveries))
  for index, delivery in ipairs(deliveries) do
    seen[delivery] = times[index] and tonumber(times[index]) > horizon
  end
  return seen
end

local kinds, from = kinds_from(4)
local deliveries, subjects, said = {}, {}, {}
local kind
for index = from, #ARGV do
  local text = ARGV[index]
  local sign = string.byte(text)
  if sign == DELIVERY then
    text = string.sub(text, 2)
    if text ~= '' then deliveries[#deliveries + 1] = text end
    said[#said + 1] = text
  elseif sign == KIND then
    kind = kinds[tonumber(string.sub(text, 2))]
    said[#said + 1] = kind
  else
    local s = subject(kind.queue, text)
    subjects[#subjects + 1] = s
    said[#said + 1] = s
  end
end
foresee(subjects)
foresee_reasons(subjects)
local seen = seen_before(deliveries)
local remembered = writing(P .. 'deliveries')
local duplicate = false
local replies = {}
for _, one in ipairs(said) do
  if type(one) == 'string' then
    duplicate = seen[one]
    if one ~= '' and not duplicate then
      seen[one] = true
      gather(remembered, 'ZADD', int(now), one)
    end
  elseif one.request then
    kind = one
  elseif duplicate then
    count(kind.queue, 'cnt', 'duplicate', 1)
    replies[#replies + 1] = 'x'
  else
    replies[#replies + 1] = LETTER[merge(one, kind.request)]
  end
end
flush()
return table.concat(replies)
