-- ARGV[4…]: pushes, each a delivery id or empty, the number of its triggers, and for each trigger: queue, member, lane,
-- timing, reason. The reply: a letter for each trigger.
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

local index = 4
while index <= #ARGV do
  local delivery, triggers = ARGV[index], tonumber(ARGV[index + 1])
  local known = delivery ~= '' and not mark(delivery)
  index = index + 2
  for _ = 1, triggers do
    local queue, timing = ARGV[index], ARGV[index + 3]
    if known then
      count(queue, 'cnt', 'duplicate', 1)
      replies[#replies + 1] = 'x'
    else
      local request = request_of(tonumber(ARGV[index + 2]), timing, ARGV[index + 4])
      replies[#replies + 1] = LETTER[merge(queue, subject(ARGV[index + 1]), request, timing == 'now')]
    end
    index = index + 5
  end
end
flush()
return table.concat(replies)
