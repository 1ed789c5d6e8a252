-- Walks jobs in the order of their keys, a bounded piece a call. ARGV[4]: padded repository to begin with, or empty;
-- ARGV[5]: bucket to begin with, or `p` for parts and texts; ARGV[6]: `1` to stay in that repository.
-- The reply: repository and bucket to go on with (empty at the end), then member, record, failure and lease end of
-- each job found.
local padded, place, only = ARGV[4], ARGV[5], ARGV[6] == '1'
local reply = { '', '' }

local function show(s, packed)
  local record = decode(s, packed)
  local ends = record.token ~= '' and redis.call('ZSCORE', key(Q, 'leases'), record.token)
  reply[#reply + 1] = s.member
  reply[#reply + 1] = packed
  reply[#reply + 1] = record.failure or ''
  reply[#reply + 1] = ends and int(tonumber(ends)) or ''
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

if padded == '' then
  padded = redis.call('ZRANGE', key(Q, 'repos'), 0, 0)[1] or ''
  place = '0'
elseif not redis.call('ZSCORE', key(Q, 'repos'), padded) then
  if only then return reply end
  padded = redis.call('ZRANGEBYLEX', key(Q, 'repos'), '(' .. padded, '+', 'LIMIT', 0, 1)[1] or ''
  place = '0'
end
if padded == '' then return reply end
local home = home_of(Q, padded)
local repository = home.repository
if place ~= 'p' then
  local bucket, looked, page, done = tonumber(place), 0, nil, false
  while looked < 200 and #reply < 2000 do
    if page ~= page_of(bucket) then
      page = redis.call('ZRANGEBYSCORE', key(Q, 'pages:' .. repository), page_of(bucket), '+inf', 'LIMIT', 0, 1)[1]
      if not page then
        done = true
        break
      end
      bucket = math.max(bucket, tonumber(page) * PAGE)
    end
    local fields, values = pairs_of('j:' .. repository .. ':' .. int(bucket))
    table.sort(fields, function(a, b) return tonumber(a) < tonumber(b) end)
    for _, field in ipairs(fields) do show(subject_of(home, field), values[field]) end
    bucket = bucket + 1
    looked = looked + 1
  end
  reply[1] = padded
  reply[2] = done and 'p' or int(bucket)
  return reply
end
local fields, values = pairs_of('p:' .. repository)
table.sort(fields, less)
for _, field in ipairs(fields) do show(subject_of(home, '/' .. field), values[field]) end
if not only then
  reply[1] = redis.call('ZRANGEBYLEX', key(Q, 'repos'), '(' .. padded, '+', 'LIMIT', 0, 1)[1] or ''
  reply[2] = '0'
end
return reply
