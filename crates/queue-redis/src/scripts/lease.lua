-- ARGV[4]: most jobs; ARGV[5]: hold in milliseconds; ARGV[6]: padded repository or empty; ARGV[7]: request or empty.
-- The reply: next_at or empty (now, if too much stood before the jobs to find one in one call); then, if there is a lease, token, end, and for each job: lane, attempts, losses, first
-- and last trigger, and its reasons as JSON or nothing, by `|`; and behind the end of that line its member.
local most, hold, wanted, request = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7]

local function job_reply(lane, attempts, lost, first, last, reasons, member)
  return lane .. '|' .. attempts .. '|' .. lost .. '|' .. first .. '|' .. last .. '|' .. reasons .. '\n' .. member
end

local function finish(reply, again_at)
  flush()
  local next_at = again_at or next_time(Q)
  reply[1] = next_at and int(next_at) or ''
  return reply
end

local function replay()
  if request == '' then return nil end
  local token = redis.call('HGET', key(Q, 'requests'), request)
  local ends = token and redis.call('ZSCORE', key(Q, 'leases'), token)
  if not ends or tonumber(ends) <= now then return nil end
  local reply = { '', token, int(tonumber(ends)) }
  for _, member in ipairs(redis.call('LRANGE', key(Q, 'lease:' .. token), 1, -1)) do
    local s = subject(Q, member)
    local record = read(s)
    if record and record.token == token then
      reply[#reply + 1] = job_reply(int(record.lane), int(record.attempts), int(record.lost), text_of(record.first),
        text_of(record.last), #record.reasons > 0 and cjson.encode(record.reasons) or '', member)
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
      local s = subject(Q, member)
      local old = read(s)
      if old and old.state == 'L' and old.token == token then
        local settled, new = expire(copy(old), text_of_subject(s))
        count(Q, 'cnt', 'lost', 1)
        if settled == 'buried' then count(Q, 'cnt', 'buried_total', 1) end
        store(s, old, new)
      end
    end
  end
end

local function promote()
  local due = {}
  for index, member in ipairs(redis.call('ZRANGEBYSCORE', key(Q, 'due'), '-inf', int(now), 'LIMIT', 0, 200)) do
    due[index] = subject(Q, member)
  end
  foresee(due)
  for _, s in ipairs(due) do
    local old = read(s, true)
    local new = copy(old)
    new.state = 'R'
    store(s, old, new)
  end
end

-- Entries of jobs that moved are left out of a lane when they come up. Where millions moved, one call leaves out so many:
-- while a script runs nothing else is answered.
local MOST_LEFT_OUT = 10000
-- Most entries popped at once.
local MOST_POPPED = 500
local left_out = 0

-- Of names those whose jobs are still there; the others' counts of entries to be left out go down.
local function still_there(skips, names)
  local counts = redis.call('HMGET', skips, unpack(names))
  local found, left, gone, changed = {}, {}, {}, {}
  for index, name in ipairs(names) do
    local count = left[name] or tonumber(counts[index] or '0')
    if count == 0 then
      found[#found + 1] = name
    else
      left[name] = count - 1
      left_out = left_out + 1
    end
  end
  for name, count in pairs(left) do
    if count == 0 then
      gone[#gone + 1] = name
    else
      changed[#changed + 1] = name
      changed[#changed + 1] = count
    end
  end
  if #gone > 0 then redis.call('HDEL', skips, unpack(gone)) end
  if #changed > 0 then redis.call('HSET', skips, unpack(changed)) end
  return found
end

-- Puts names back to the front of a lane, in their order.
local function put_back(turn, names, from)
  local reversed = {}
  for index = #names, from, -1 do reversed[#reversed + 1] = names[index] end
  if #reversed > 0 then redis.call('LPUSH', key(Q, 'l:' .. turn), unpack(reversed)) end
end

-- Pops the next jobs of a repository's lane, up to as many as are wanted; none if too many others stand before them.
local function pop(turn, wanted)
  local list, skips = key(Q, 'l:' .. turn), key(Q, 'sk:' .. turn)
  local entries, found = wanted, {}
  while #found == 0 and left_out < MOST_LEFT_OUT do
    found = redis.call('LPOP', list, entries)
    if not found then error('fewer jobs are listed as ready than are counted for ' .. turn) end
    if redis.call('EXISTS', skips) == 1 then found = still_there(skips, found) end
    entries = math.max(entries, math.min(entries * 2, MOST_POPPED))
  end
  put_back(turn, found, wanted + 1)
  return { unpack(found, 1, math.min(wanted, #found)) }
end

-- Of a record's fields those that a lease looks at; those cut off are empty.
local READY = '^[^|]*|?' .. string.rep('([^|]*)|?', 6) .. '[^|]*|?([^|]*)|?[^|]*|?[^|]*|?([^|]*)'

-- The jobs of names, with their records' fields as they are stored: a ready one is not dirty, and waits for nothing.
local function jobs_of(home, names)
  local subjects, jobs = {}, {}
  for index, name in ipairs(names) do subjects[index] = subject_of(home, name) end
  foresee(subjects)
  foresee_reasons(subjects)
  for index, s in ipairs(subjects) do
    local lane, first, last, hard, attempts, lost, at, flags = string.match(packed_of(s), READY)
    jobs[index] = {
      s = s, lane = lane, first = first, last = last, hard = hard, attempts = attempts, lost = lost, at = at,
      flags = flags,
    }
  end
  return jobs
end

-- The jobs of a batch; a suspect, whose lease was lost before, alone or not at all.
local function take(home, from_lane)
  local taken, times, numbers = {}, {}, {}
  for lane = from_lane, 4 do
    local turn = home.repository .. ':' .. lane
    local ready = tonumber(redis.call('HGET', key(Q, 'rn'), turn) or '0')
    numbers[lane] = 0
    if ready > 0 then times[lane] = tonumber(redis.call('ZSCORE', key(Q, 'ring:' .. lane), home.padded) or '0') end
    while #taken < most and numbers[lane] < ready and left_out < MOST_LEFT_OUT do
      local names = pop(turn, math.min(most - #taken, ready - numbers[lane]))
      for index, job in ipairs(jobs_of(home, names)) do
        local suspect = job.lost ~= ''
        if suspect and #taken > 0 then
          put_back(turn, names, index)
          return taken, times, numbers
        end
        taken[#taken + 1] = job
        numbers[lane] = numbers[lane] + 1
        if suspect then
          put_back(turn, names, index + 1)
          return taken, times, numbers
        end
      end
    end
    if #taken >= most or left_out >= MOST_LEFT_OUT then break end
  end
  return taken, times, numbers
end

-- A ready job that was popped becomes one that is worked on, as `store` would have it: its record is put together from
-- what was stored.
local function hold_job(job, token, attempts)
  local s = job.s
  local packed = 'L|' .. job.lane .. '|' .. job.first .. '|' .. job.last .. '|' .. job.hard .. '|' .. attempts .. '|'
    .. job.lost .. '|||' .. token
  if job.flags ~= '' then packed = packed .. '||' .. job.flags end
  keep(s, packed)
  if job.at ~= '' then gather(turn_of(s.home, tonumber(job.lane)).since, 'ZREM', s.member) end
end

local again = replay()
if again then return finish(again) end
sweep()
promote()
write_gathered()
forget_pauses(Q)
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
local home = home_of(Q, padded)
local taken, times, numbers = take(home, lane)
if #taken == 0 then return finish({ '' }, now) end
local token = math.max(s.token + 1, now * 1024)
local name = string.rep('0', 16 - #int(token)) .. int(token)
set('token', token)
redis.call('ZADD', key(Q, 'leases'), int(now + hold), name)
redis.call('HSET', key(Q, 'held'), name, #taken)
if request ~= '' then redis.call('HSET', key(Q, 'requests'), request, name) end
local reply = { '', name, int(now + hold) }
local held = { request }
for _, job in ipairs(taken) do
  local attempts = int((tonumber(job.attempts) or 0) + 1)
  hold_job(job, name, attempts)
  held[#held + 1] = job.s.member
  local lost = job.lost == '' and '0' or job.lost
  reply[#reply + 1] = job_reply(job.lane, attempts, lost, job.first, job.last,
    has(job.flags, 'r') and reasons_of(job.s) or '', job.s.member)
end
count(Q, 'cnt', 'L', #taken)
count(Q, 'rc', home.repository .. ':L', #taken)
for from = lane, 4 do
  if (numbers[from] or 0) > 0 then
    count(Q, 'cnt', 'R' .. from, -numbers[from])
    change_lane(turn_of(home, from), -numbers[from])
  end
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
