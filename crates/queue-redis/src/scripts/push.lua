-- ARGV[4]: delivery id or empty; then for each trigger: queue, member, lane, timing, reason.
local delivery = ARGV[4]
local replies = {}
if delivery ~= '' then
  local seen = P .. 'deliveries'
  local horizon = now - 4 * 86400000
  -- More than one push adds, and no more than a moment takes.
  local old = redis.call('ZRANGEBYSCORE', seen, '-inf', int(horizon), 'LIMIT', 0, 100)
  if #old > 0 then redis.call('ZREM', seen, unpack(old)) end
  local at = redis.call('ZSCORE', seen, delivery)
  if at and tonumber(at) > horizon then
    for index = 5, #ARGV, 5 do
      count(ARGV[index], 'cnt', 'duplicate', 1)
      replies[#replies + 1] = 'duplicate'
    end
    flush()
    return replies
  end
  redis.call('ZADD', seen, int(now), delivery)
end
for index = 5, #ARGV, 5 do
  local request = request_of(tonumber(ARGV[index + 2]), ARGV[index + 3], ARGV[index + 4])
  replies[#replies + 1] = merge(ARGV[index], subject(ARGV[index + 1]), request, ARGV[index + 3] == 'now')
end
flush()
return replies
