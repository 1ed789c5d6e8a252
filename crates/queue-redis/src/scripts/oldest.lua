-- The reply: for each lane since when its oldest ready or overdue job could have started, or empty.
local oldest = {}
for lane = 0, 4 do
  local first = redis.call('ZRANGEBYSCORE', key(Q, 'ra:' .. lane), '-inf', int(now), 'WITHSCORES', 'LIMIT', 0, 1)
  oldest[lane] = tonumber(first[2] or '')
end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', key(Q, 'due'), '-inf', int(now), 'LIMIT', 0, 200)) do
  local record = read(subject(Q, member), true)
  oldest[record.lane] = smaller(oldest[record.lane], record.at)
end
local reply = {}
for lane = 0, 4 do reply[#reply + 1] = oldest[lane] and int(oldest[lane]) or '' end
return reply
