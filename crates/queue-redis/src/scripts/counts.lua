-- ARGV[4]: repository, or empty for the whole queue. The reply: pairs of names and numbers, then pauses.
local reply = {}
if ARGV[4] == '' then
  for _, value in ipairs(redis.call('HGETALL', key(Q, 'cnt'))) do reply[#reply + 1] = value end
  local paused = redis.call('HMGET', key(Q, 'meta'), 'paused', 'paused_why')
  return { reply, paused[1] and tonumber(paused[1]) > now and paused[1] or '', paused[2] or '' }
end
local padded = string.rep('0', 16 - #ARGV[4]) .. ARGV[4]
for _, state in ipairs({ 'D', 'L', 'X' }) do
  reply[#reply + 1] = state
  reply[#reply + 1] = redis.call('HGET', key(Q, 'rc'), ARGV[4] .. ':' .. state) or '0'
end
for lane = 0, 4 do
  reply[#reply + 1] = 'R' .. lane
  reply[#reply + 1] = redis.call('HGET', key(Q, 'rn'), ARGV[4] .. ':' .. lane) or '0'
end
local ends = redis.call('ZSCORE', key(Q, 'pauses'), padded)
local why = redis.call('HGET', key(Q, 'pauses_why'), padded)
return { reply, ends and tonumber(ends) > now and int(tonumber(ends)) or '', why or '' }
