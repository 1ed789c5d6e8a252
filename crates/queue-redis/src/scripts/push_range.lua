-- ARGV[4]: padded repository; ARGV[5], ARGV[6]: first and last number; ARGV[7]: lane. The reply counts new and merged.
local padded, lane = ARGV[4], ARGV[7]
local first, last = tonumber(ARGV[5]), tonumber(ARGV[6])
local request = request_of(tonumber(lane), 'free', '')
local home = home_of(Q, padded)
local repository = home.repository
local turn = repository .. ':' .. lane
local packed = 'R|' .. lane
local new, merged = 0, 0
local records, names, slot = {}, {}, nil

-- Stores the new jobs gathered so far: before a known one may become ready behind them.
local function store_new()
  if #names == 0 then return end
  write_gathered()
  redis.call('HSET', slot, unpack(records))
  redis.call('RPUSH', key(Q, 'l:' .. turn), unpack(names))
  if redis.call('HINCRBY', key(Q, 'rn'), turn, #names) == #names then
    redis.call('ZADD', key(Q, 'ring:' .. lane), redis.call('HGET', key(Q, 'meta'), 'ring' .. lane) or '0', padded)
  end
  new = new + #names
  records, names = {}, {}
end

local from = first
while from <= last do
  local bucket = math.floor(from / 64)
  local to = math.min(last, bucket * 64 + 63)
  slot = key(Q, 'j:' .. repository .. ':' .. int(bucket))
  local numbers = {}
  for number = from, to do numbers[#numbers + 1] = int(number) end
  local known = redis.call('HMGET', slot, unpack(numbers))
  for index, number in ipairs(numbers) do
    if known[index] then
      store_new()
      merge(subject_of(home, number), request)
      merged = merged + 1
    else
      records[#records + 1] = number
      records[#records + 1] = packed
      names[#names + 1] = number
    end
  end
  store_new()
  from = to + 1
end
if new > 0 then
  redis.call('ZADD', key(Q, 'repos'), 0, padded)
  note_page(Q, repository, math.floor(first / 64))
  note_page(Q, repository, math.floor(last / 64))
  count(Q, 'cnt', 'R' .. lane, new)
  count(Q, 'cnt', 'new', new)
  count(Q, 'rc', repository .. ':T', new)
  wake(Q)
end
flush()
return { int(new), int(merged) }
