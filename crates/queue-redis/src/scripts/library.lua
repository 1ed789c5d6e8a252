-- What all scripts share: time, policy, keys, records, and the one way a job changes.
--
-- KEYS[1] is the prefix with its hash tag; every key is built from it, so all live in one slot.
-- ARGV[1] is the time in milliseconds, or empty for the server's; ARGV[2] the policy; ARGV[3] the queue.
-- Everything is read and checked before the first write: Redis does not roll back.

local P = KEYS[1]
local NEVER = math.huge

-- Most numbers of a call are shown more than once: the time, lanes, attempts.
local shown = {}

local function int(number)
  local text = shown[number]
  if not text then
    text = string.format('%.0f', number)
    shown[number] = text
  end
  return text
end

local now
if ARGV[1] ~= '' then
  now = tonumber(ARGV[1])
else
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local policy = {}
for value in string.gmatch(ARGV[2], '[^|]+') do
  policy[#policy + 1] = tonumber(value)
end
local INACTIVITY, CEILING, MAX_ATTEMPTS, MAX_LOST = policy[1], policy[2], policy[3], policy[4]
local SHORTEST, LONGEST = policy[5], policy[6]
local Q = ARGV[3]

local STRIDE = { [0] = 1, 4, 16, 64, 256 }

local function key(queue, name)
  return P .. queue .. ':' .. name
end

-- Writes that many jobs of one call share ---------------------------------------------------------------------------

-- A command costs about as much with one value as with fifty, so values for one key are gathered and written at once: a
-- key's writes keep their order, and who reads a key asks for it by `written`.
local gathered, kept_keys = {}, {}
local MOST_GATHERED = 2000

local function written(name)
  local waiting = gathered[name]
  if waiting then
    gathered[name] = nil
    redis.call(waiting.command, name, unpack(waiting.values))
  end
  return name
end

local function gather(command, name, a, b)
  local waiting = gathered[name]
  if waiting and (waiting.command ~= command or #waiting.values >= MOST_GATHERED) then
    written(name)
    waiting = nil
  end
  if not waiting then
    waiting = { command = command, values = {} }
    gathered[name] = waiting
    kept_keys[#kept_keys + 1] = name
  end
  local values = waiting.values
  values[#values + 1] = a
  if b then values[#values + 1] = b end
end

-- Subjects -----------------------------------------------------------------------------------------------------------

-- A member is a subject padded so that bytes order as keys do: `0000000000000007#0000000000000012` for an item,
-- `0000000000000007/labels` for a part, `0000000000000000/~text` for a text.
local function unpadded(digits)
  return string.match(digits, '^0*(.+)$')
end

local repositories = {}

local function repository_of(padded)
  local repository = repositories[padded]
  if not repository then
    repository = unpadded(padded)
    repositories[padded] = repository
  end
  return repository
end

local function item(member, padded, name)
  local repository, number = repository_of(padded), tonumber(name)
  return {
    member = member, repository = repository, padded = padded, name = name, field = name, number = number,
    slot = 'j:' .. repository .. ':' .. int(math.floor(number / 64)),
  }
end

local function subject(member)
  local padded, number = string.match(member, '^(%d+)#0*(%d+)$')
  if padded then return item(member, padded, number) end
  padded = string.sub(member, 1, 16)
  local repository, rest = repository_of(padded), string.sub(member, 18)
  return {
    member = member, repository = repository, padded = padded, name = '/' .. rest, field = rest,
    slot = 'p:' .. repository,
  }
end

-- The subject as people write it.
local function text_of_subject(s)
  if s.number then return s.repository .. '#' .. s.name end
  if string.sub(s.field, 1, 1) == '~' then return s.field end
  return s.repository .. '/' .. s.field
end

-- The member of a name in a repository's list of ready jobs.
local function member_of(padded, name)
  if string.sub(name, 1, 1) == '/' then return padded .. name end
  return padded .. '#' .. string.sub('0000000000000000', #name + 1) .. name
end

local function subject_of(padded, name)
  local member = member_of(padded, name)
  if string.sub(name, 1, 1) == '/' then return subject(member) end
  return item(member, padded, name)
end

-- Bytes, whatever the server's collation.
local function less(a, b)
  local length = math.min(#a, #b)
  for index = 1, length do
    local x, y = string.byte(a, index), string.byte(b, index)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- Records ------------------------------------------------------------------------------------------------------------

-- A record is `state|lane|first|last|hard|attempts|lost|not_before|at|token|dirty|flags`, trailing empties cut: a
-- backfill's is four bytes. Flags: d doomed, r has reasons, q has reasons in its dirty request, w has a failure; those
-- texts live in hashes of their own, so that records stay small and their buckets compact.
local function number_of(text)
  if text == 'n' then return NEVER end
  return tonumber(text)
end

local function text_of(number)
  if number == nil or number == 0 then return '' end
  if number == NEVER then return 'n' end
  return int(number)
end

local function list_of(queue, name, member)
  local text = redis.call('HGET', written(key(queue, name)), member)
  if not text then return {} end
  return cjson.decode(text)
end

-- The fields of a record or of a dirty request; those cut off are empty.
local FIELDS = '^' .. string.rep('([^|]*)|?', 12)
local DIRTY = '^([^,]*),([^,]*),([^,]*),([^,]*)$'

local function has(flags, flag)
  return flags ~= '' and string.find(flags, flag, 1, true) ~= nil
end

-- `lean`: without the texts beside it, which then stay as they are when it is stored.
local function decode(queue, s, packed, lean)
  local state, lane, first, last, hard, attempts, lost, not_before, at, token, dirty, flags =
    string.match(packed, FIELDS)
  local record = {
    state = state, lane = tonumber(lane), first = tonumber(first), last = tonumber(last), hard = number_of(hard) or 0,
    attempts = tonumber(attempts) or 0, lost = tonumber(lost) or 0, not_before = tonumber(not_before) or 0,
    at = tonumber(at), token = token, doomed = has(flags, 'd'), flags = flags, reasons = nil, failure = nil, dirty = nil,
  }
  if not lean then
    record.reasons = has(flags, 'r') and list_of(queue, 'rs', s.member) or {}
    if has(flags, 'w') then record.failure = redis.call('HGET', written(key(queue, 'why')), s.member) end
  end
  if dirty ~= '' then
    lane, first, last, hard = string.match(dirty, DIRTY)
    record.dirty = {
      lane = tonumber(lane), first = tonumber(first), last = tonumber(last), hard = number_of(hard) or 0,
    }
    if not lean then
      record.dirty.reasons = has(flags, 'q') and list_of(queue, 'drs', s.member) or {}
    end
  end
  return record
end

-- Records as they are stored, by bucket and field, or false for none: each is read once a call, and what is written is
-- read from here.
local known = {}

local function bucket_of(queue, s)
  local name = key(queue, s.slot)
  local records = known[name]
  if not records then
    records = {}
    known[name] = records
  end
  return records, name
end

-- Reads the records of many subjects, those of a bucket at once.
local function foresee(queue, subjects)
  local asked = {}
  for _, s in ipairs(subjects) do
    local records, name = bucket_of(queue, s)
    if records[s.field] == nil then
      local fields = asked[name]
      if not fields then
        fields = {}
        asked[name] = fields
      end
      records[s.field] = false
      fields[#fields + 1] = s.field
    end
  end
  for name, fields in pairs(asked) do
    local records = known[name]
    for from = 1, #fields, MOST_GATHERED do
      local to = math.min(from + MOST_GATHERED - 1, #fields)
      local packed = redis.call('HMGET', name, unpack(fields, from, to))
      for index = from, to do records[fields[index]] = packed[index - from + 1] end
    end
  end
end

local function packed_of(queue, s)
  local records, name = bucket_of(queue, s)
  local packed = records[s.field]
  if packed == nil then
    packed = redis.call('HGET', name, s.field)
    records[s.field] = packed
  end
  return packed
end

-- Stores a record, or takes it away.
local function keep(queue, s, packed)
  local records, name = bucket_of(queue, s)
  records[s.field] = packed or false
  if packed then
    gather('HSET', name, s.field, packed)
  else
    gather('HDEL', name, s.field)
  end
end

local function read(queue, s, lean)
  local packed = packed_of(queue, s)
  if not packed then return nil end
  return decode(queue, s, packed, lean)
end

local function encode(record, flags)
  local dirty = ''
  if record.dirty then
    local d = record.dirty
    dirty = d.lane .. ',' .. text_of(d.first) .. ',' .. text_of(d.last) .. ',' .. text_of(d.hard)
  end
  local packed = record.state .. '|' .. int(record.lane) .. '|' .. text_of(record.first) .. '|' .. text_of(record.last)
    .. '|' .. text_of(record.hard) .. '|' .. text_of(record.attempts) .. '|' .. text_of(record.lost) .. '|'
    .. text_of(record.not_before) .. '|' .. text_of(record.at) .. '|' .. record.token .. '|' .. dirty .. '|' .. flags
  if flags ~= '' then return packed end
  return (string.gsub(packed, '|+$', ''))
end

-- Of a record or of a request.
local function copy(of)
  return {
    state = of.state, lane = of.lane, first = of.first, last = of.last, hard = of.hard, attempts = of.attempts,
    lost = of.lost, not_before = of.not_before, at = of.at, token = of.token, doomed = of.doomed, flags = of.flags,
    reasons = of.reasons, failure = of.failure, dirty = of.dirty,
  }
end

-- Counters are summed up and written once a call.
local deltas = {}

local function count(queue, hash, field, by)
  local hashes = deltas[queue]
  if not hashes then
    hashes = { cnt = {}, rc = {} }
    deltas[queue] = hashes
  end
  local fields = hashes[hash]
  fields[field] = (fields[field] or 0) + by
end

local touched = {}

-- Jobs that entered a repository's lane, or were popped from it, since its count was written.
local lanes = {}

local function write_lane(name)
  local lane = lanes[name]
  if not lane then return end
  lanes[name] = nil
  local queue, turn, by = lane.queue, lane.turn, lane.by
  local ready = redis.call('HINCRBY', key(queue, 'rn'), turn, by)
  if ready == 0 then
    redis.call('HDEL', key(queue, 'rn'), turn)
    redis.call('DEL', key(queue, 'l:' .. turn), key(queue, 'sk:' .. turn))
    redis.call('ZREM', key(queue, 'ring:' .. lane.lane), lane.padded)
  elseif ready == by then
    local time = redis.call('HGET', key(queue, 'meta'), 'ring' .. lane.lane) or '0'
    redis.call('ZADD', key(queue, 'ring:' .. lane.lane), time, lane.padded)
  end
end

local function change_lane(queue, s, lane, by)
  local turn = s.repository .. ':' .. lane
  local name = queue .. turn
  local waiting = lanes[name]
  if waiting and waiting.by * by < 0 then
    write_lane(name)
    waiting = nil
  end
  if waiting then
    waiting.by = waiting.by + by
  else
    lanes[name] = { queue = queue, turn = turn, lane = lane, padded = s.padded, by = by }
  end
end

-- Something became ready, or may be due sooner: who waits in any process looks again. A job that is due later than
-- another wakes nobody: whoever waits looks again at the earlier time.
local woken, soonest_due = {}, {}

local function wake(queue)
  if not woken[queue] then
    woken[queue] = true
    redis.call('PUBLISH', P .. 'wake', queue)
  end
end

-- Writes what was gathered; lists and counts of ready jobs are right afterwards.
local function write_gathered()
  for _, name in ipairs(kept_keys) do written(name) end
  kept_keys = {}
  for name in pairs(lanes) do write_lane(name) end
end

local function flush()
  write_gathered()
  for queue, hashes in pairs(deltas) do
    for hash, fields in pairs(hashes) do
      local name = key(queue, hash)
      for field, by in pairs(fields) do
        if by ~= 0 and redis.call('HINCRBY', name, field, int(by)) == 0 then redis.call('HDEL', name, field) end
      end
    end
  end
  for _, t in pairs(touched) do
    if redis.call('HEXISTS', key(t.queue, 'rc'), t.repository .. ':T') == 0 then
      redis.call('ZREM', key(t.queue, 'repos'), t.padded)
      redis.call('DEL', key(t.queue, 'pages:' .. t.repository))
    end
  end
  for queue, at in pairs(soonest_due) do
    local first = redis.call('ZRANGE', key(queue, 'due'), 0, 0, 'WITHSCORES')[2]
    if first and tonumber(first) >= at then wake(queue) end
  end
end

-- A text beside a record: written where it changed. Says whether there is one afterwards.
local function store_text(queue, hash, member, had, old, new, encode)
  if old == new then return had end
  if new then
    gather('HSET', key(queue, hash), member, encode and encode(new) or new)
  elseif had then
    gather('HDEL', key(queue, hash), member)
  end
  return new ~= nil
end

local function filled(list)
  if list and #list > 0 then return list end
  return nil
end

-- What a job that goes leaves behind beside its record.
local function forget_texts(queue, s, flags)
  if flags == '' then return end
  if has(flags, 'r') then gather('HDEL', key(queue, 'rs'), s.member) end
  if has(flags, 'q') then gather('HDEL', key(queue, 'drs'), s.member) end
  if has(flags, 'w') then gather('HDEL', key(queue, 'why'), s.member) end
end

local function store_texts(queue, s, old, new)
  local flags = old and old.flags or ''
  local function had(flag) return has(flags, flag) end
  local was, asked = old and old.dirty, new.dirty
  local reasons =
    store_text(queue, 'rs', s.member, had('r'), filled(old and old.reasons), filled(new.reasons), cjson.encode)
  local dirty = store_text(queue, 'drs', s.member, had('q'), filled(was and was.reasons),
    filled(asked and asked.reasons), cjson.encode) and asked ~= nil
  local failure = store_text(queue, 'why', s.member, had('w'), old and old.failure, new.failure)
  return (new.doomed and 'd' or '') .. (reasons and 'r' or '') .. (dirty and 'q' or '') .. (failure and 'w' or '')
end

local function leave_lane(queue, s, lane, popped)
  local turn = s.repository .. ':' .. lane
  gather('ZREM', key(queue, 'ra:' .. lane), s.member)
  change_lane(queue, s, lane, -1)
  if popped then return end
  -- Its entry stays in the list, and is skipped when it comes up; with the last job the list goes.
  redis.call('HINCRBY', key(queue, 'sk:' .. turn), s.name, 1)
  written(key(queue, 'l:' .. turn))
  write_lane(queue .. turn)
end

local function enter_lane(queue, s, lane, at)
  gather('RPUSH', key(queue, 'l:' .. s.repository .. ':' .. lane), s.name)
  change_lane(queue, s, lane, 1)
  if at then gather('ZADD', key(queue, 'ra:' .. lane), int(at), s.member) end
  wake(queue)
end

local function await(queue, s, at)
  gather('ZADD', key(queue, 'due'), int(at), s.member)
  soonest_due[queue] = math.min(soonest_due[queue] or at, at)
end

local function leave(queue, s, old, popped)
  if old.state == 'D' then gather('ZREM', key(queue, 'due'), s.member) end
  if old.state == 'X' then redis.call('ZREM', key(queue, 'dead'), s.member) end
  if old.state == 'R' then
    leave_lane(queue, s, int(old.lane), popped)
    count(queue, 'cnt', 'R' .. int(old.lane), -1)
  else
    count(queue, 'cnt', old.state, -1)
    count(queue, 'rc', s.repository .. ':' .. old.state, -1)
  end
end

local function enter(queue, s, new)
  if new.state == 'D' then await(queue, s, new.at) end
  if new.state == 'X' then redis.call('ZADD', key(queue, 'dead'), 0, s.member) end
  if new.state == 'R' then
    enter_lane(queue, s, int(new.lane), new.at)
    count(queue, 'cnt', 'R' .. int(new.lane), 1)
  else
    count(queue, 'cnt', new.state, 1)
    count(queue, 'rc', s.repository .. ':' .. new.state, 1)
  end
end

-- Which buckets may hold jobs, by pages of so many: browsing would not find them among numbers of sixteen digits.
local PAGE = 64

local function page_of(bucket)
  return int(math.floor(bucket / PAGE))
end

local function note_page(queue, repository, bucket)
  redis.call('ZADD', key(queue, 'pages:' .. repository), page_of(bucket), page_of(bucket))
end

local noted = {}

local function account(queue, s, by)
  count(queue, 'rc', s.repository .. ':T', by)
  if by < 0 then
    touched[queue .. s.padded] = { queue = queue, repository = s.repository, padded = s.padded }
    return
  end
  local place = queue .. s.padded
  if not noted[place] then
    noted[place] = true
    redis.call('ZADD', key(queue, 'repos'), 0, s.padded)
  end
  if s.number then
    local bucket = math.floor(s.number / 64)
    place = place .. page_of(bucket)
    if not noted[place] then
      noted[place] = true
      note_page(queue, s.repository, bucket)
    end
  end
end

-- How a job changes. `popped`: its entry was taken from the list of ready jobs already.
local function store(queue, s, old, new, popped)
  local stays = old and new and old.state == new.state and (old.state ~= 'R' or old.lane == new.lane)
  if old and not stays then leave(queue, s, old, popped) end
  if not new then
    forget_texts(queue, s, old.flags)
    keep(queue, s, nil)
    account(queue, s, -1)
    return
  end
  keep(queue, s, encode(new, store_texts(queue, s, old, new)))
  if not old then account(queue, s, 1) end
  if not stays then
    enter(queue, s, new)
  elseif new.state == 'D' and new.at ~= old.at then
    await(queue, s, new.at)
  end
end

-- The life of a job, as the rules of the queue crate say it ----------------------------------------------------------

local function smaller(a, b)
  if a == nil then return b end
  if b == nil then return a end
  return math.min(a, b)
end

local function larger(a, b)
  if a == nil then return b end
  if b == nil then return a end
  return math.max(a, b)
end

local function join_reasons(a, b)
  -- Most of what merges says the same again.
  if #b == 0 or #b == 1 and a[1] == b[1] then return a end
  local seen, all = {}, {}
  for _, list in ipairs({ a, b }) do
    for _, reason in ipairs(list) do
      if not seen[reason] then
        seen[reason] = true
        all[#all + 1] = reason
      end
    end
  end
  table.sort(all, less)
  local kept = {}
  for index = 1, math.min(8, #all) do kept[index] = all[index] end
  return kept
end

-- Merges a request into another; both may be a record.
local function join(into, request)
  into.lane = math.min(into.lane, request.lane)
  into.first = smaller(into.first, request.first)
  into.last = larger(into.last, request.last)
  into.hard = math.min(into.hard, request.hard)
  if into.reasons then into.reasons = join_reasons(into.reasons, request.reasons) end
end

local function place(record)
  local due = record.hard
  if record.last then due = math.min(due, record.last + INACTIVITY) end
  if record.first then due = math.min(due, record.first + CEILING) end
  local at = math.max(due, record.not_before)
  record.token = ''
  record.state = at > now and 'D' or 'R'
  record.at = at > 0 and at or nil
end

local function fresh(request)
  local record = {
    lane = request.lane, first = request.first, last = request.last, hard = request.hard, reasons = request.reasons,
    attempts = 0, lost = 0, not_before = 0, token = '', doomed = false,
  }
  place(record)
  return record
end

-- Makes a job of a request. Those of one request are alike, and are put together once.
local function add(queue, s, request)
  local alike = request.alike
  if not alike then
    local record, reasons = fresh(request), filled(request.reasons)
    alike = { record = record, packed = encode(record, reasons and 'r' or ''), reasons = reasons and cjson.encode(reasons) }
    request.alike = alike
  end
  if alike.reasons then gather('HSET', key(queue, 'rs'), s.member, alike.reasons) end
  keep(queue, s, alike.packed)
  account(queue, s, 1)
  enter(queue, s, alike.record)
end

local function request_of(lane, timing, reason)
  if timing == 'free' then return { lane = lane, hard = 0, reasons = {} } end
  return {
    lane = lane, first = now, last = now, hard = timing == 'now' and now or NEVER,
    reasons = reason ~= '' and { reason } or {},
  }
end

-- Whether a waiting job has the reasons of a request and no others, as it is mostly asked for once more; then its texts
-- need not be read.
local function has_same_reasons(queue, s, record, request)
  if not has(record.flags, 'r') then return #request.reasons == 0 end
  if #request.reasons == 0 then return true end
  return redis.call('HGET', written(key(queue, 'rs')), s.member) == cjson.encode(request.reasons)
end

local function read_for(queue, s, packed, request)
  local record = decode(queue, s, packed, true)
  local waits = record.state == 'R' or record.state == 'D'
  if waits and has_same_reasons(queue, s, record, request) then
    local lean = copy(request)
    lean.reasons = nil
    return record, lean
  end
  return decode(queue, s, packed), request
end

local function merge(queue, s, request, hurry)
  local packed = packed_of(queue, s)
  if not packed then
    add(queue, s, request)
    count(queue, 'cnt', 'new', 1)
    return 'new'
  end
  local old
  old, request = read_for(queue, s, packed, request)
  local new = copy(old)
  local outcome = 'merged'
  if old.state == 'L' then
    outcome = 'dirty'
    if old.dirty then
      new.dirty = copy(old.dirty)
      join(new.dirty, request)
    else
      new.dirty = request
    end
  elseif old.state == 'X' then
    outcome = 'revived'
    new.attempts = MAX_ATTEMPTS - 1
    new.lane, new.first, new.last, new.hard = request.lane, request.first, request.last, request.hard
    new.reasons = request.reasons
    new.not_before = 0
    place(new)
  else
    if old.state == 'D' and hurry then new.not_before = 0 end
    join(new, request)
    if old.state == 'D' then place(new) end
  end
  store(queue, s, old, new)
  count(queue, 'cnt', outcome == 'dirty' and 'dirty' or 'merged', 1)
  return outcome
end

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

-- Leases and turns ---------------------------------------------------------------------------------------------------

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

-- What a caller says ---------------------------------------------------------------------------------------------------

-- Triggers of a call are mostly of few kinds. From `at` on stand how many kinds there are, and for each queue, lane,
-- timing and reason. Returns the kinds, and where what follows begins.
local function kinds_from(at)
  local kinds, number = {}, tonumber(ARGV[at])
  at = at + 1
  for kind = 1, number do
    local timing = ARGV[at + 2]
    kinds[kind] = {
      queue = ARGV[at], request = request_of(tonumber(ARGV[at + 1]), timing, ARGV[at + 3]), hurry = timing == 'now',
    }
    at = at + 4
  end
  return kinds, at
end

-- A trigger: the number of its kind, `|`, member.
local function trigger_of(kinds, text)
  local bar = string.find(text, '|', 1, true)
  return kinds[tonumber(string.sub(text, 1, bar - 1))], subject(string.sub(text, bar + 1))
end
