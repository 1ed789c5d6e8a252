-- What becomes of a job that was worked on, and of its lease. After `jobs.lua`.

-- Exact in doubles, so that every backend waits as long.
local function jitter(attempts, name)
  local hash = attempts
  for index = 1, #name do
    hash = (hash * 31 + string.byte(name, index)) % 65521
  end
  return hash * 40503 % 65521
end

local function backoff(attempts, name)
  local full = SHORTEST
  for _ = 1, math.min(math.max(attempts - 1, 0), 40) do
    full = math.min(full * 2, LONGEST)
  end
  full = math.min(full, LONGEST)
  local half = math.floor(full / 2)
  local part = jitter(attempts, name)
  return half + math.floor(half / 65521) * part + math.floor((half % 65521) * part / 65521)
end

local function join_dirty(record)
  if record.dirty then
    join(record, record.dirty)
    record.dirty = nil
  end
end

local function fail(record, reason, pause, last)
  record.failure = reason
  if last and not record.dirty then
    record.state = 'X'
    record.token = ''
    record.at = now
    return 'buried', record
  end
  if last then record.attempts = math.min(record.attempts, MAX_ATTEMPTS - 1) end
  record.not_before = now + pause
  join_dirty(record)
  place(record)
  return 'waiting', record
end

local function settle_doomed(record, finished)
  if record.dirty then
    local new = fresh(record.dirty)
    new.lost = record.lost
    return 'waiting', new
  end
  return finished and 'finished' or 'gone', nil
end

-- What an expired lease makes of a job.
local function expire(record, name)
  record.lost = record.lost + 1
  if record.doomed then return settle_doomed(record, false) end
  local poison = record.lost >= MAX_LOST
  local reason = 'lease expired'
  if poison then
    reason = 'poison: its lease was lost ' .. int(record.lost) .. ' times, so it may crash the worker'
  end
  return fail(record, reason, backoff(record.attempts, name), poison or record.attempts >= MAX_ATTEMPTS)
end

-- What a worker's word makes of a job.
local function settle(record, outcome, after, reason, name)
  if record.doomed then return settle_doomed(record, outcome == 'finish') end
  if outcome == 'finish' then
    if not record.dirty then return 'finished', nil end
    return 'waiting', fresh(record.dirty)
  end
  if outcome == 'release' then
    record.attempts = math.max(record.attempts - 1, 0)
    record.not_before = after == 0 and 0 or now + after
    join_dirty(record)
    place(record)
    return 'waiting', record
  end
  local pause = after or backoff(record.attempts, name)
  return fail(record, reason, pause, outcome == 'bury' or record.attempts >= MAX_ATTEMPTS)
end

-- The end of a lease.
local function end_lease(queue, token)
  redis.call('ZREM', key(queue, 'leases'), token)
  local request = redis.call('LINDEX', key(queue, 'lease:' .. token), 0)
  if request and request ~= '' and redis.call('HGET', key(queue, 'requests'), request) == token then
    redis.call('HDEL', key(queue, 'requests'), request)
  end
  redis.call('DEL', key(queue, 'lease:' .. token))
  redis.call('HDEL', key(queue, 'held'), token)
end

local function let_go(queue, token, jobs)
  if redis.call('HINCRBY', key(queue, 'held'), token, -jobs) <= 0 then end_lease(queue, token) end
end
