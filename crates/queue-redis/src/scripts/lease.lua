-- ARGV[4]: most jobs; ARGV[5]: hold in milliseconds; ARGV[6]: padded repository or empty; ARGV[7]: request or empty.
-- The reply: next_at or empty; then, if there is a lease, token, end, and for each job two values: lane, attempts, losses,
-- first and last trigger and member, by `|`; and its reasons as JSON, or empty.
local most, hold, wanted, request = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7]

local function job_reply(reply, s, record, reasons)
  reply[#reply + 1] = table.concat({
    int(record.lane), int(record.attempts), int(record.lost), text_of(record.first), text_of(record.last), s.member,
  }, '|')
  reply[#reply + 1] = reasons
end

local function finish(reply)
  flush()
  local next_at = next_time(Q)
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
    if record and record.token == token then
      job_reply(reply, s, record, #record.reasons > 0 and cjson.encode(record.reasons) or '')
    end
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
    local old = read(Q, s, true)
    local new = copy(old)
    new.state = 'R'
    store(Q, s, old, new)
  end
end

-- Pops the next entries of a repository's lane, and leaves out those of jobs that moved.
local function pop(padded, turn, entries)
  local names = redis.call('LPOP', key(Q, 'l:' .. turn), entries) or {}
  local skips = key(Q, 'sk:' .. turn)
  if redis.call('EXISTS', skips) == 0 then return names end
  local found = {}
  for _, name in ipairs(names) do
    if redis.call('HEXISTS', skips, name) == 0 then
      found[#found + 1] = name
    elseif redis.call('HINCRBY', skips, name, -1) == 0 then
      redis.call('HDEL', skips, name)
    end
  end
  return found
end

-- The records of names, read bucket by bucket, without the texts beside them.
local function records_of(padded, names)
  local jobs, from = {}, 1
  for index, name in ipairs(names) do jobs[index] = { s = subject(member_of(padded, name)) } end
  while from <= #jobs do
    local slot, fields, to = jobs[from].s.slot, {}, from
    while to <= #jobs and jobs[to].s.slot == slot do
      fields[#fields + 1] = jobs[to].s.field
      to = to + 1
    end
    local packed = redis.call('HMGET', key(Q, slot), unpack(fields))
    for index = from, to - 1 do
      jobs[index].record = decode(Q, jobs[index].s, packed[index - from + 1], true)
    end
    from = to
  end
  return jobs
end

-- Puts entries back to the front, in their order.
local function put_back(turn, jobs, from)
  local names = {}
  for index = #jobs, from, -1 do names[#names + 1] = jobs[index].s.name end
  if #names > 0 then redis.call('LPUSH', key(Q, 'l:' .. turn), unpack(names)) end
end

-- The jobs of a batch; a suspect, whose lease was lost before, alone or not at all.
local function take(padded, from_lane)
  local taken, times, numbers = {}, {}, {}
  local repository = subject(padded .. '#0000000000000001').repository
  for lane = from_lane, 4 do
    local turn = repository .. ':' .. lane
    local ready = tonumber(redis.call('HGET', key(Q, 'rn'), turn) or '0')
    numbers[lane] = 0
    if ready > 0 then times[lane] = tonumber(redis.call('ZSCORE', key(Q, 'ring:' .. lane), padded) or '0') end
    while #taken < most and numbers[lane] < ready do
      local jobs = records_of(padded, pop(padded, turn, math.min(most - #taken, ready - numbers[lane])))
      for index, job in ipairs(jobs) do
        local suspect = job.record.lost > 0
        if suspect and #taken > 0 then
          put_back(turn, jobs, index)
          return taken, times, numbers
        end
        taken[#taken + 1] = job
        numbers[lane] = numbers[lane] + 1
        if suspect then
          put_back(turn, jobs, index + 1)
          return taken, times, numbers
        end
      end
    end
    if #taken >= most then break end
  end
  return taken, times, numbers
end

-- The reasons of jobs as they are stored, in the jobs' order.
local function reasons_of(jobs)
  local members, found = {}, {}
  for _, job in ipairs(jobs) do
    if string.find(job.record.flags, 'r', 1, true) then members[#members + 1] = job.s.member end
  end
  if #members > 0 then found = redis.call('HMGET', written(key(Q, 'rs')), unpack(members)) end
  local reasons, at = {}, 0
  for index, job in ipairs(jobs) do
    reasons[index] = ''
    if string.find(job.record.flags, 'r', 1, true) then
      at = at + 1
      reasons[index] = found[at] or ''
    end
  end
  return reasons
end

local again = replay()
if again then return finish(again) end
sweep()
promote()
write_gathered()
if queue_pause(Q) then return finish({ '' }) end
local s = schedule(Q)
local lane, padded, time = choose(Q, s, wanted)
if not lane then return finish({ '' }) end
local meta = {}
local function set(field, number)
  meta[#meta + 1] = field
  meta[#meta + 1] = int(number)
end
if wanted == '' then
  s.served = math.max(s.pass[lane], s.served)
  s.ring[lane] = math.max(s.ring[lane], time)
  set('served', s.served)
  set('ring' .. lane, s.ring[lane])
end
local taken, times, numbers = take(padded, lane)
local token = math.max(s.token + 1, now * 1024)
local name = string.rep('0', 16 - #int(token)) .. int(token)
set('token', token)
redis.call('ZADD', key(Q, 'leases'), int(now + hold), name)
redis.call('HSET', key(Q, 'held'), name, #taken)
if request ~= '' then redis.call('HSET', key(Q, 'requests'), request, name) end
local reply = { '', name, int(now + hold) }
local held = { request }
local reasons = reasons_of(taken)
for index, job in ipairs(taken) do
  local new = copy(job.record)
  new.state, new.token, new.attempts, new.at, new.not_before = 'L', name, new.attempts + 1, nil, 0
  store(Q, job.s, job.record, new, true)
  held[#held + 1] = job.s.member
  job_reply(reply, job.s, new, reasons[index])
end
redis.call('RPUSH', key(Q, 'lease:' .. name), unpack(held))
write_gathered()
for from = lane, 4 do
  if (numbers[from] or 0) > 0 then
    set('pass' .. from, math.max(s.pass[from], s.served) + numbers[from] * STRIDE[from])
    -- Only who still has ready jobs keeps a place in the ring.
    redis.call('ZADD', key(Q, 'ring:' .. from), 'XX', int(math.max(times[from], s.ring[from]) + numbers[from]), padded)
  end
end
redis.call('HSET', key(Q, 'meta'), unpack(meta))
return finish(reply)
