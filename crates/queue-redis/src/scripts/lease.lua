-- ARGV[4]: most jobs; ARGV[5]: hold in milliseconds; ARGV[6]: padded repository or empty; ARGV[7]: request or empty.
-- The reply: next_at or empty; then, if there is a lease, token, end, and seven values for each job.
local most, hold, wanted, request = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7]

local function job_reply(reply, s, record)
  local values = {
    s.member, int(record.lane), int(record.attempts), int(record.lost), record.first and int(record.first) or '',
    record.last and int(record.last) or '', #record.reasons > 0 and cjson.encode(record.reasons) or '[]',
  }
  for _, value in ipairs(values) do reply[#reply + 1] = value end
end

local function finish(reply)
  flush()
  local _, next_at = outlook(Q)
  reply[1] = next_at and int(next_at) or ''
  return reply
end

local function replay()
  if request == '' then return nil end
  local token = redis.call('HGET', key(Q, 'requests'), request)
  local ends = token and redis.call('ZSCORE', key(Q, 'leases'), token)
  if not ends or tonumber(ends) <= now then return nil end
  local reply = { '', token, int(tonumber(ends)) }
  for index, member in ipairs(redis.call('LRANGE', key(Q, 'lease:' .. token), 1, -1)) do
    local s = subject(member)
    local record = read(Q, s)
    if record and record.token == token then job_reply(reply, s, record) end
  end
  return reply
end

local function sweep()
  for _, token in ipairs(redis.call('ZRANGEBYSCORE', key(Q, 'leases'), '-inf', int(now), 'LIMIT', 0, 10)) do
    local members = redis.call('LRANGE', key(Q, 'lease:' .. token), 1, -1)
    table.sort(members, less)
    end_lease(Q, token)
    for _, member in ipairs(members) do
      local s = subject(member)
      local old = read(Q, s)
      if old and old.state == 'L' and old.token == token then
        local settled, new = expire(copy(old), s.text)
        count(Q, 'cnt', 'lost', 1)
        if settled == 'buried' then count(Q, 'cnt', 'buried_total', 1) end
        store(Q, s, old, new)
      end
    end
  end
end

local function promote()
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', key(Q, 'due'), '-inf', int(now), 'LIMIT', 0, 200)) do
    local s = subject(member)
    local old = read(Q, s)
    local new = copy(old)
    new.state = 'R'
    store(Q, s, old, new)
  end
end

-- Pops the next ready job of a repository's lane, stale entries skipped.
local function pop(padded, turn)
  while true do
    local name = redis.call('LPOP', key(Q, 'l:' .. turn))
    if not name then return nil end
    local skips = tonumber(redis.call('HGET', key(Q, 'sk:' .. turn), name) or '0')
    if skips == 0 then return subject(member_of(padded, name)) end
    if redis.call('HINCRBY', key(Q, 'sk:' .. turn), name, -1) == 0 then redis.call('HDEL', key(Q, 'sk:' .. turn), name) end
  end
end

local function take(padded, from_lane)
  local taken, times, numbers = {}, {}, {}
  local repository = subject(padded .. '#0000000000000001').repository
  for lane = from_lane, 4 do
    local turn = repository .. ':' .. lane
    times[lane] = tonumber(redis.call('ZSCORE', key(Q, 'ring:' .. lane), padded) or '0')
    local ready = tonumber(redis.call('HGET', key(Q, 'rn'), turn) or '0')
    numbers[lane] = 0
    while #taken < most and numbers[lane] < ready do
      local s = pop(padded, turn)
      local record = read(Q, s)
      if record.lost > 0 and #taken > 0 then
        redis.call('LPUSH', key(Q, 'l:' .. turn), s.name)
        return taken, times, numbers
      end
      taken[#taken + 1] = { s = s, record = record }
      numbers[lane] = numbers[lane] + 1
      if record.lost > 0 then return taken, times, numbers end
    end
    if #taken >= most then break end
  end
  return taken, times, numbers
end

local again = replay()
if again then return finish(again) end
sweep()
promote()
if queue_pause(Q) then return finish({ '' }) end
local s = schedule(Q)
local lane, padded, time = choose(Q, s, wanted)
if not lane then return finish({ '' }) end
if wanted == '' then
  s.served = math.max(s.pass[lane], s.served)
  s.ring[lane] = math.max(s.ring[lane], time)
  redis.call('HSET', key(Q, 'meta'), 'served', int(s.served), 'ring' .. lane, int(s.ring[lane]))
end
local taken, times, numbers = take(padded, lane)
local token = math.max(tonumber(redis.call('HGET', key(Q, 'meta'), 'token') or '0') + 1, now * 1024)
local name = string.rep('0', 16 - #int(token)) .. int(token)
redis.call('HSET', key(Q, 'meta'), 'token', int(token))
redis.call('ZADD', key(Q, 'leases'), int(now + hold), name)
redis.call('RPUSH', key(Q, 'lease:' .. name), request)
redis.call('HSET', key(Q, 'held'), name, #taken)
if request ~= '' then redis.call('HSET', key(Q, 'requests'), request, name) end
local reply = { '', name, int(now + hold) }
for _, job in ipairs(taken) do
  local new = copy(job.record)
  new.state, new.token, new.attempts, new.at, new.not_before = 'L', name, new.attempts + 1, nil, 0
  store(Q, job.s, job.record, new, true)
  redis.call('RPUSH', key(Q, 'lease:' .. name), job.s.member)
  job_reply(reply, job.s, new)
end
for from = lane, 4 do
  if (numbers[from] or 0) > 0 then
    local pass = math.max(s.pass[from], s.served) + numbers[from] * STRIDE[from]
    redis.call('HSET', key(Q, 'meta'), 'pass' .. from, int(pass))
    -- Only who still has ready jobs keeps a place in the ring.
    redis.call('ZADD', key(Q, 'ring:' .. from), 'XX', int(math.max(times[from], s.ring[from]) + numbers[from]), padded)
  end
end
return finish(reply)
