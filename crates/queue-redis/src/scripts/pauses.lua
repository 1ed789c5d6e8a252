-- The reply: for each pause in force its padded repository (empty for the queue), its end and its reason.
local reply = {}
local paused = redis.call('HMGET', key(Q, 'meta'), 'paused', 'paused_why')
if paused[1] and tonumber(paused[1]) > now then
  reply = { '', paused[1], paused[2] or '' }
end
local found = {}
for _, padded in ipairs(redis.call('ZRANGEBYSCORE', key(Q, 'pauses'), '(' .. int(now), '+inf')) do found[#found + 1] = padded end
table.sort(found, less)
for _, padded in ipairs(found) do
  reply[#reply + 1] = padded
  reply[#reply + 1] = int(tonumber(redis.call('ZSCORE', key(Q, 'pauses'), padded)))
  reply[#reply + 1] = redis.call('HGET', key(Q, 'pauses_why'), padded) or ''
end
return reply
