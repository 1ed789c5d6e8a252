-- Looking through many jobs, and removing them. After `jobs.lua`.

-- A job as `list` shows it: member, record, last failure and the end of its lease.
local function show(reply, s, packed)
  local record = decode(s, packed)
  local ends = record.token ~= '' and redis.call('ZSCORE', key(Q, 'leases'), record.token)
  reply[#reply + 1] = s.member
  reply[#reply + 1] = packed
  reply[#reply + 1] = record.failure or ''
  reply[#reply + 1] = ends and int(tonumber(ends)) or ''
end

-- What removing makes of a job: nothing, or while it is worked on a doomed one. What was asked for since its lease began
-- goes with it, where only one lane is meant what was asked for in that lane.
local function remove(record, lane)
  if record.state ~= 'L' then return nil end
  record.doomed = true
  if record.dirty and (not lane or record.dirty.lane == lane) then record.dirty = nil end
  return record
end

local function pairs_of(slot)
  local found = redis.call('HGETALL', key(Q, slot))
  local fields, values = {}, {}
  for index = 1, #found, 2 do
    fields[#fields + 1] = found[index]
    values[found[index]] = found[index + 1]
  end
  return fields, values
end

-- Where a walk goes on after a repository.
local function repository_after(padded)
  return redis.call('ZRANGEBYLEX', key(Q, 'repos'), '(' .. padded, '+', 'LIMIT', 0, 1)[1] or ''
end

-- The jobs of parts and texts of a repository, and where to go on.
local function walk_parts(home, only, take)
  local fields, values = pairs_of('p:' .. home.repository)
  table.sort(fields, less)
  for _, field in ipairs(fields) do take(subject_of(home, '/' .. field), values[field]) end
  local after = only and '' or repository_after(home.padded)
  return after, after ~= '' and '0' or ''
end

-- Walks jobs in the order of their keys, a bounded piece a call: from a bucket of a repository (`p`: its parts and texts;
-- an empty repository: the first one) on, `only` in that repository, until `has_enough`. `take` gets subject and record of
-- each. Returns repository and bucket to go on with, empty at the end.
local function walk(padded, place, only, has_enough, take)
  if padded == '' then
    padded = redis.call('ZRANGE', key(Q, 'repos'), 0, 0)[1] or ''
    place = '0'
  elseif not redis.call('ZSCORE', key(Q, 'repos'), padded) then
    padded = only and '' or repository_after(padded)
    place = '0'
  end
  if padded == '' then return '', '' end
  local home = home_of(Q, padded)
  if place == 'p' then return walk_parts(home, only, take) end
  local repository = home.repository
  local bucket, looked, page = tonumber(place), 0, nil
  while looked < 200 and not has_enough() do
    if page ~= page_of(bucket) then
      page = redis.call('ZRANGEBYSCORE', key(Q, 'pages:' .. repository), page_of(bucket), '+inf', 'LIMIT', 0, 1)[1]
      if not page then return padded, 'p' end
      bucket = math.max(bucket, tonumber(page) * PAGE)
    end
    local fields, values = pairs_of('j:' .. repository .. ':' .. int(bucket))
    table.sort(fields, function(a, b) return tonumber(a) < tonumber(b) end)
    for _, field in ipairs(fields) do take(subject_of(home, field), values[field]) end
    bucket = bucket + 1
    looked = looked + 1
  end
  return padded, int(bucket)
end
