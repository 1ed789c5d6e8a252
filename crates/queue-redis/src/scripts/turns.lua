-- Pauses, and whose turn it is. After `base.lua`.

local function queue_pause(queue)
  local ends = tonumber(redis.call('HGET', key(queue, 'meta'), 'paused') or '0')
  if ends > now then return ends end
  return nil
end

local function is_paused(queue, padded)
  local ends = redis.call('ZSCORE', key(queue, 'pauses'), padded)
  return ends and tonumber(ends) > now
end

local any_paused = {}

local function has_pauses(queue)
  if any_paused[queue] == nil then any_paused[queue] = redis.call('ZCARD', key(queue, 'pauses')) > 0 end
  return any_paused[queue]
end

-- Takes away pauses that have ended, some at once: while there is one, every choice looks at it.
local function forget_pauses(queue)
  if not has_pauses(queue) then return end
  local ended = redis.call('ZRANGEBYSCORE', key(queue, 'pauses'), '-inf', int(now), 'LIMIT', 0, 100)
  if #ended == 0 then return end
  redis.call('ZREM', key(queue, 'pauses'), unpack(ended))
  redis.call('HDEL', key(queue, 'pauses_why'), unpack(ended))
  any_paused[queue] = nil
end

-- The open repository of a lane with the smallest virtual time: its padded id and that time.
local function first_open(queue, lane)
  local ring = key(queue, 'ring:' .. lane)
  if not has_pauses(queue) then
    local first = redis.call('ZRANGE', ring, 0, 0, 'WITHSCORES')
    return first[1], tonumber(first[2] or '0')
  end
  local from = 0
  while true do
    local turns = redis.call('ZRANGE', ring, from, from + 49, 'WITHSCORES')
    for index = 1, #turns, 2 do
      if not is_paused(queue, turns[index]) then return turns[index], tonumber(turns[index + 1]) end
    end
    if #turns < 100 then return nil end
    from = from + 50
  end
end

-- The queue's turns, and its last token.
local function schedule(queue)
  local meta = redis.call('HMGET', key(queue, 'meta'), 'served', 'token', 'pass0', 'pass1', 'pass2', 'pass3', 'pass4',
    'ring0', 'ring1', 'ring2', 'ring3', 'ring4')
  local s = { served = tonumber(meta[1] or '0'), token = tonumber(meta[2] or '0'), pass = {}, ring = {} }
  for lane = 0, 4 do
    s.pass[lane] = tonumber(meta[lane + 3] or '0')
    s.ring[lane] = tonumber(meta[lane + 8] or '0')
  end
  return s
end

-- Whose turn it is: lane, padded repository, its virtual time there.
local function choose(queue, s, wanted)
  local best, chosen, chosen_time
  for lane = 0, 4 do
    local padded, time
    if wanted == '' then
      padded, time = first_open(queue, lane)
    else
      local score = redis.call('ZSCORE', key(queue, 'ring:' .. lane), wanted)
      if score and not is_paused(queue, wanted) then padded, time = wanted, tonumber(score) end
    end
    if padded and (not best or math.max(s.pass[lane], s.served) < math.max(s.pass[best], s.served)) then
      best, chosen, chosen_time = lane, padded, time
    end
  end
  return best, chosen, chosen_time
end

-- The first due time, lease end or end of a pause; that of the queue's own pause if there is one.
local function next_time(queue)
  local paused = queue_pause(queue)
  if paused then return paused end
  local due = redis.call('ZRANGE', key(queue, 'due'), 0, 0, 'WITHSCORES')[2]
  local ends = redis.call('ZRANGE', key(queue, 'leases'), 0, 0, 'WITHSCORES')[2]
  local pause
  if has_pauses(queue) then
    pause = redis.call('ZRANGEBYSCORE', key(queue, 'pauses'), '(' .. int(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  end
  return smaller(smaller(tonumber(due or ''), tonumber(ends or '')), tonumber(pause or ''))
end

-- Whether a lease would find work now.
local function has_work(queue)
  if queue_pause(queue) then return false end
  for _, name in ipairs({ 'due', 'leases' }) do
    local first = redis.call('ZRANGE', key(queue, name), 0, 0, 'WITHSCORES')[2]
    if first and tonumber(first) <= now then return true end
  end
  for lane = 0, 4 do
    if first_open(queue, lane) then return true end
  end
  return false
end
