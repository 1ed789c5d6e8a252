-- How a job is named, stored and counted, and the one way it changes; and what a trigger makes of it. After `base.lua`.

-- Writes that many jobs of one call share ---------------------------------------------------------------------------

-- A command costs about as much with one value as with fifty, so values for one key are gathered and written at once: a
-- key's writes keep their order, and who reads a key asks for it by `written`.
local writings, writing_of = {}, {}
local MOST_GATHERED = 2000

-- What waits to be written to a key.
local function writing(name)
  local waiting = writing_of[name]
  if not waiting then
    waiting = { name = name, command = '', values = {}, length = 0 }
    writing_of[name] = waiting
    writings[#writings + 1] = waiting
  end
  return waiting
end

local function write(waiting)
  local length = waiting.length
  if length == 0 then return end
  waiting.length = 0
  redis.call(waiting.command, waiting.name, unpack(waiting.values, 1, length))
end

local function written(name)
  local waiting = writing_of[name]
  if waiting then write(waiting) end
  return name
end

local function gather(waiting, command, a, b)
  if waiting.command ~= command or waiting.length >= MOST_GATHERED then
    write(waiting)
    waiting.command = command
  end
  local values, length = waiting.values, waiting.length + 1
  values[length] = a
  if b then
    length = length + 1
    values[length] = b
  end
  waiting.length = length
end

-- Subjects -----------------------------------------------------------------------------------------------------------

-- A member is a subject padded so that bytes order as keys do: `0000000000000007#0000000000000012` for an item,
-- `0000000000000007/labels` for a part, `0000000000000000/~text` for a text.
local function unpadded(digits)
  return string.match(digits, '^0*(.+)$')
end

-- What the subjects of a repository on a queue share, so that most jobs of a call need no name put together.
local homes, home_by = {}, {}

local function home_of(queue, padded)
  local on_queue = home_by[queue]
  if not on_queue then
    on_queue = {}
    home_by[queue] = on_queue
  end
  local home = on_queue[padded]
  if not home then
    local repository = unpadded(padded)
    home = {
      queue = queue, padded = padded, repository = repository, total = repository .. ':T', slots = {}, turns = {},
      pages = {}, reasons = {},
    }
    on_queue[padded] = home
    homes[#homes + 1] = home
  end
  return home
end

-- A bucket of records: of items by their number's, of all else `p`. `records` are those known in this call as they are
-- stored, or false for none: each is read once, and what is written is read from here.
local function slot_of(home, bucket)
  local slot = home.slots[bucket]
  if not slot then
    local name = bucket == 'p' and 'p:' .. home.repository or 'j:' .. home.repository .. ':' .. int(bucket)
    slot = { writing = writing(key(home.queue, name)), bucket = bucket, records = {}, asked = nil, noted = false }
    home.slots[bucket] = slot
  end
  return slot
end

local function item(home, member, name)
  local number = tonumber(name)
  return {
    home = home, member = member, name = name, field = name, number = number,
    slot = slot_of(home, math.floor(number / 64)),
  }
end

local NUMBER_SIGN = 35

local function subject(queue, member)
  local home = home_of(queue, string.sub(member, 1, 16))
  if string.byte(member, 17) == NUMBER_SIGN then return item(home, member, string.match(member, '^0*(.+)$', 18)) end
  local rest = string.sub(member, 18)
  return { home = home, member = member, name = '/' .. rest, field = rest, slot = slot_of(home, 'p') }
end

-- The subject as people write it.
local function text_of_subject(s)
  if s.number then return s.home.repository .. '#' .. s.name end
  if string.sub(s.field, 1, 1) == '~' then return s.field end
  return s.home.repository .. '/' .. s.field
end

-- The subject of a name in a repository's list of ready jobs.
local function subject_of(home, name)
  if string.byte(name) == 47 then return subject(home.queue, home.padded .. name) end
  return item(home, home.padded .. '#' .. string.sub('0000000000000000', #name + 1) .. name, name)
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

-- A list beside a record, by its text or none.
local function list_of(text)
  return text and cjson.decode(text) or {}
end

-- A job's reasons as they are stored, or false for none.
local function reasons_of(s)
  local known = s.home.reasons
  local text = known[s.member]
  if text == nil then
    text = redis.call('HGET', key(s.home.queue, 'rs'), s.member)
    known[s.member] = text
  end
  return text
end

-- Reads the reasons of many jobs that have some, as their records say.
local function foresee_reasons(subjects)
  local asked = {}
  for _, s in ipairs(subjects) do
    local packed, known = s.slot.records[s.field], s.home.reasons
    -- Only flags are in small letters, but for a time that never comes.
    if packed and known[s.member] == nil and string.find(packed, 'r', 1, true) then
      known[s.member] = false
      local queue = s.home.queue
      local those = asked[queue]
      if not those then
        those = { subjects = {}, members = {} }
        asked[queue] = those
      end
      those.subjects[#those.subjects + 1] = s
      those.members[#those.members + 1] = s.member
    end
  end
  for queue, those in pairs(asked) do
    for from = 1, #those.members, MOST_GATHERED do
      local to = math.min(from + MOST_GATHERED - 1, #those.members)
      local found = redis.call('HMGET', key(queue, 'rs'), unpack(those.members, from, to))
      for index = from, to do
        local s = those.subjects[index]
        s.home.reasons[s.member] = found[index - from + 1]
      end
    end
  end
end

-- Stores a text beside a record, or takes it away.
local function keep_text(s, hash, text)
  local home = s.home
  local waiting = home[hash]
  if not waiting then
    waiting = writing(key(home.queue, hash))
    home[hash] = waiting
  end
  if hash == 'rs' then home.reasons[s.member] = text or false end
  gather(waiting, text and 'HSET' or 'HDEL', s.member, text)
end

-- The same of texts that few jobs have.
local function text_beside(s, hash)
  return redis.call('HGET', written(key(s.home.queue, hash)), s.member)
end

-- The fields of a record or of a dirty request; those cut off are empty.
local FIELDS = '^' .. string.rep('([^|]*)|?', 12)
local DIRTY = '^([^,]*),([^,]*),([^,]*),([^,]*)$'

local function has(flags, flag)
  return flags ~= '' and string.find(flags, flag, 1, true) ~= nil
end

-- `lean`: without the texts beside it, which then stay as they are when it is stored.
local function decode(s, packed, lean)
  local state, lane, first, last, hard, attempts, lost, not_before, at, token, dirty, flags =
    string.match(packed, FIELDS)
  local record = {
    state = state, lane = tonumber(lane), first = tonumber(first), last = tonumber(last), hard = number_of(hard) or 0,
    attempts = tonumber(attempts) or 0, lost = tonumber(lost) or 0, not_before = tonumber(not_before) or 0,
    at = tonumber(at), token = token, doomed = has(flags, 'd'), flags = flags, reasons = nil, failure = nil, dirty = nil,
  }
  if not lean then
    record.reasons = has(flags, 'r') and list_of(reasons_of(s)) or {}
    if has(flags, 'w') then record.failure = text_beside(s, 'why') end
  end
  if dirty ~= '' then
    lane, first, last, hard = string.match(dirty, DIRTY)
    record.dirty = {
      lane = tonumber(lane), first = tonumber(first), last = tonumber(last), hard = number_of(hard) or 0,
    }
    if not lean then
      record.dirty.reasons = has(flags, 'q') and list_of(text_beside(s, 'drs')) or {}
    end
  end
  return record
end

-- Reads the records of many subjects, those of a bucket at once.
local function foresee(subjects)
  local slots = {}
  for _, s in ipairs(subjects) do
    local slot, field = s.slot, s.field
    if slot.records[field] == nil then
      slot.records[field] = false
      local asked = slot.asked
      if not asked then
        asked = {}
        slot.asked = asked
        slots[#slots + 1] = slot
      end
      asked[#asked + 1] = field
    end
  end
  for _, slot in ipairs(slots) do
    local fields, records = slot.asked, slot.records
    slot.asked = nil
    for from = 1, #fields, MOST_GATHERED do
      local to = math.min(from + MOST_GATHERED - 1, #fields)
      local packed = redis.call('HMGET', slot.writing.name, unpack(fields, from, to))
      for index = from, to do records[fields[index]] = packed[index - from + 1] end
    end
  end
end

local function packed_of(s)
  local records = s.slot.records
  local packed = records[s.field]
  if packed == nil then
    packed = redis.call('HGET', s.slot.writing.name, s.field)
    records[s.field] = packed
  end
  return packed
end

-- Stores a record, or takes it away.
local function keep(s, packed)
  local slot = s.slot
  slot.records[s.field] = packed or false
  gather(slot.writing, packed and 'HSET' or 'HDEL', s.field, packed)
end

local function read(s, lean)
  local packed = packed_of(s)
  if not packed then return nil end
  return decode(s, packed, lean)
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

-- Where the ready jobs of a repository in a lane stand. `by`: how many entered it, or were popped from it, since their
-- count was written.
local turns = {}

local function turn_of(home, lane)
  local turn = home.turns[lane]
  if not turn then
    local text = int(lane)
    local name = home.repository .. ':' .. text
    turn = {
      home = home, lane = text, name = name, counter = 'R' .. text, by = 0,
      list = writing(key(home.queue, 'l:' .. name)), since = writing(key(home.queue, 'ra:' .. text)),
    }
    home.turns[lane] = turn
    turns[#turns + 1] = turn
  end
  return turn
end

local function write_lane(turn)
  local by, queue, padded = turn.by, turn.home.queue, turn.home.padded
  if by == 0 then return end
  turn.by = 0
  local ready = redis.call('HINCRBY', key(queue, 'rn'), turn.name, by)
  if ready == 0 then
    redis.call('HDEL', key(queue, 'rn'), turn.name)
    redis.call('DEL', turn.list.name, key(queue, 'sk:' .. turn.name))
    redis.call('ZREM', key(queue, 'ring:' .. turn.lane), padded)
  elseif ready == by then
    local time = redis.call('HGET', key(queue, 'meta'), 'ring' .. turn.lane) or '0'
    redis.call('ZADD', key(queue, 'ring:' .. turn.lane), time, padded)
  end
end

local function change_lane(turn, by)
  if turn.by * by < 0 then write_lane(turn) end
  turn.by = turn.by + by
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
  for _, waiting in ipairs(writings) do write(waiting) end
  for _, turn in ipairs(turns) do write_lane(turn) end
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
  for _, home in ipairs(homes) do
    if home.shrunk and redis.call('HEXISTS', key(home.queue, 'rc'), home.total) == 0 then
      redis.call('ZREM', key(home.queue, 'repos'), home.padded)
      redis.call('DEL', key(home.queue, 'pages:' .. home.repository))
    end
  end
  for queue, at in pairs(soonest_due) do
    local first = redis.call('ZRANGE', key(queue, 'due'), 0, 0, 'WITHSCORES')[2]
    if first and tonumber(first) >= at then wake(queue) end
  end
end

-- Stores a text beside a record where it changed, and says whether there is one afterwards.
local function store_text(s, hash, had, old, new, encode)
  if old == new then return had end
  if new then
    keep_text(s, hash, encode and encode(new) or new)
  elseif had then
    keep_text(s, hash, nil)
  end
  return new ~= nil
end

local function filled(list)
  if list and #list > 0 then return list end
  return nil
end

-- What a job that goes leaves behind beside its record.
local function forget_texts(s, flags)
  if flags == '' then return end
  if has(flags, 'r') then keep_text(s, 'rs', nil) end
  if has(flags, 'q') then keep_text(s, 'drs', nil) end
  if has(flags, 'w') then keep_text(s, 'why', nil) end
end

local function store_texts(s, old, new)
  local flags = old and old.flags or ''
  local was, asked = old and old.dirty, new.dirty
  local reasons =
    store_text(s, 'rs', has(flags, 'r'), filled(old and old.reasons), filled(new.reasons), cjson.encode)
  local dirty = store_text(s, 'drs', has(flags, 'q'), filled(was and was.reasons), filled(asked and asked.reasons),
    cjson.encode) and asked ~= nil
  local failure = store_text(s, 'why', has(flags, 'w'), old and old.failure, new.failure)
  return (new.doomed and 'd' or '') .. (reasons and 'r' or '') .. (dirty and 'q' or '') .. (failure and 'w' or '')
end

local function leave_lane(s, turn, popped)
  gather(turn.since, 'ZREM', s.member)
  change_lane(turn, -1)
  if popped then return end
  -- Its entry stays in the list, and is skipped when it comes up; with the last job the list goes.
  redis.call('HINCRBY', key(s.home.queue, 'sk:' .. turn.name), s.name, 1)
  write(turn.list)
  write_lane(turn)
end

local function enter_lane(s, turn, at)
  gather(turn.list, 'RPUSH', s.name)
  change_lane(turn, 1)
  if at then gather(turn.since, 'ZADD', int(at), s.member) end
  wake(s.home.queue)
end

local function delayed(home)
  local due = home.due
  if not due then
    due = writing(key(home.queue, 'due'))
    home.due = due
  end
  return due
end

local function await(s, at)
  local queue = s.home.queue
  gather(delayed(s.home), 'ZADD', int(at), s.member)
  local soonest = soonest_due[queue]
  if not soonest or at < soonest then soonest_due[queue] = at end
end

-- Counts a job in a state, by as many.
local function count_in(s, state, lane, by)
  local home = s.home
  if state == 'R' then
    count(home.queue, 'cnt', turn_of(home, lane).counter, by)
  else
    count(home.queue, 'cnt', state, by)
    count(home.queue, 'rc', home.repository .. ':' .. state, by)
  end
end

local function leave(s, old, popped)
  local home = s.home
  if old.state == 'D' then gather(delayed(home), 'ZREM', s.member) end
  if old.state == 'X' then redis.call('ZREM', key(home.queue, 'dead'), s.member) end
  if old.state == 'R' then leave_lane(s, turn_of(home, old.lane), popped) end
  count_in(s, old.state, old.lane, -1)
end

local function enter(s, new)
  if new.state == 'D' then await(s, new.at) end
  if new.state == 'X' then redis.call('ZADD', key(s.home.queue, 'dead'), 0, s.member) end
  if new.state == 'R' then enter_lane(s, turn_of(s.home, new.lane), new.at) end
  count_in(s, new.state, new.lane, 1)
end

-- Which buckets may hold jobs, by pages of so many: browsing would not find them among numbers of sixteen digits.
local PAGE = 64

local function page_of(bucket)
  return int(math.floor(bucket / PAGE))
end

local function note_page(queue, repository, bucket)
  redis.call('ZADD', key(queue, 'pages:' .. repository), page_of(bucket), page_of(bucket))
end

local function account(s, by)
  local home, slot = s.home, s.slot
  count(home.queue, 'rc', home.total, by)
  if by < 0 then
    home.shrunk = true
    return
  end
  if not home.noted then
    home.noted = true
    redis.call('ZADD', key(home.queue, 'repos'), 0, home.padded)
  end
  if s.number and not slot.noted then
    slot.noted = true
    local page = page_of(slot.bucket)
    if not home.pages[page] then
      home.pages[page] = true
      note_page(home.queue, home.repository, slot.bucket)
    end
  end
end

-- How a job changes. `popped`: its entry was taken from the list of ready jobs already.
local function store(s, old, new, popped)
  local stays = old and new and old.state == new.state and (old.state ~= 'R' or old.lane == new.lane)
  if old and not stays then leave(s, old, popped) end
  if not new then
    forget_texts(s, old.flags)
    keep(s, nil)
    account(s, -1)
    return
  end
  keep(s, encode(new, store_texts(s, old, new)))
  if not old then account(s, 1) end
  if not stays then
    enter(s, new)
  elseif new.state == 'D' and new.at ~= old.at then
    await(s, new.at)
  end
end

-- The life of a job, as the rules of the queue crate say it ----------------------------------------------------------

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

-- When a job may start: after silence, but never beyond the ceiling, and not before a wait between attempts ends.
local function due_of(hard, first, last, not_before)
  local due = hard
  if last then due = math.min(due, last + INACTIVITY) end
  if first then due = math.min(due, first + CEILING) end
  return math.max(due, not_before)
end

local function place(record)
  local at = due_of(record.hard, record.first, record.last, record.not_before)
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

-- A request's reasons as they are stored, or false for none: put together once.
local function told(request)
  local text = request.told
  if text == nil then
    text = #request.reasons > 0 and cjson.encode(request.reasons)
    request.told = text
  end
  return text
end

-- Makes a job of a request. Those of one request are alike, and are put together once.
local function add(s, request)
  local alike = request.alike
  if not alike then
    local record = fresh(request)
    alike = { record = record, packed = encode(record, told(request) and 'r' or '') }
    request.alike = alike
  end
  if request.told then keep_text(s, 'rs', request.told) end
  keep(s, alike.packed)
  account(s, 1)
  enter(s, alike.record)
  count(s.home.queue, 'cnt', 'new', 1)
end

local function request_of(lane, timing, reason)
  if timing == 'free' then return { lane = lane, hard = 0, hurry = false, reasons = {} } end
  local hurry = timing == 'now'
  return {
    lane = lane, first = now, last = now, hard = hurry and now or NEVER, hurry = hurry,
    reasons = reason ~= '' and { reason } or {},
  }
end

-- The usual trigger of a job that waits already: no more urgent, and for the same reason. It is later than the one
-- before it, and nothing else of the record changes but when it is due; so its other fields are not looked into. Says
-- whether it was such a trigger.
local function merge_usual(s, packed, request)
  local state, lane, first, last, hard, attempts, lost, not_before, at, token, dirty, flags =
    string.match(packed, FIELDS)
  if state ~= 'D' and state ~= 'R' or tonumber(lane) > request.lane or (number_of(hard) or 0) > request.hard
    or request.first and (first == '' or tonumber(first) > request.first) or request.hurry and not_before ~= '' then
    return false
  end
  if #request.reasons > 0 and not (has(flags, 'r') and reasons_of(s) == told(request)) then return false end
  local later = request.last and (last == '' or tonumber(last) < request.last)
  if later then last = int(request.last) end
  if state == 'D' then
    local due = due_of(number_of(hard) or 0, tonumber(first), tonumber(last), tonumber(not_before) or 0)
    if due <= now then return false end
    if due ~= tonumber(at) then
      at = int(due)
      await(s, due)
    end
  end
  if not later then return true end
  packed = state .. '|' .. lane .. '|' .. first .. '|' .. last .. '|' .. hard .. '|' .. attempts .. '|'
    .. lost .. '|' .. not_before .. '|' .. at .. '|' .. token .. '|' .. dirty .. '|' .. flags
  if flags == '' then packed = string.gsub(packed, '|+$', '') end
  keep(s, packed)
  return true
end

local function merge(s, request)
  local packed = packed_of(s)
  if not packed then
    add(s, request)
    return 'new'
  end
  local queue = s.home.queue
  if merge_usual(s, packed, request) then
    count(queue, 'cnt', 'merged', 1)
    return 'merged'
  end
  local old = decode(s, packed)
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
    if old.state == 'D' and request.hurry then new.not_before = 0 end
    join(new, request)
    if old.state == 'D' then place(new) end
  end
  store(s, old, new)
  count(queue, 'cnt', outcome == 'dirty' and 'dirty' or 'merged', 1)
  return outcome
end

-- What a caller says ---------------------------------------------------------------------------------------------------

-- Triggers of a call are mostly of few kinds. From `at` on stand how many kinds there are, and for each queue, lane,
-- timing and reason. Returns the kinds, and where what follows begins.
local function kinds_from(at)
  local kinds, number = {}, tonumber(ARGV[at])
  at = at + 1
  for kind = 1, number do
    kinds[kind] = { queue = ARGV[at], request = request_of(tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]) }
    at = at + 4
  end
  return kinds, at
end
