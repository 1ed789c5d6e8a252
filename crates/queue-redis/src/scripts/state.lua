-- The state: small values with versions and ends, who leads, the live history.
--
-- KEYS[1] is the prefix; ARGV[1] the time in milliseconds, or empty for the server's; ARGV[2] the operation.
-- Keys: `state:values`, `state:versions`, `state:ends` (hashes by name), `state:names` (sorted set, for listing),
-- `state:due` (sorted set of the names that have an end, by it), `state:meta` (the last `version` and `sequence`, and
-- `dropped`, the last sequence that is not kept any more), `state:events` (sorted set of `sequence|json` by sequence).
local P = KEYS[1] .. 'state:'
local function int(number)
  return string.format('%.0f', number)
end

local function forget(name)
  redis.call('HDEL', P .. 'values', name)
  redis.call('HDEL', P .. 'versions', name)
  redis.call('HDEL', P .. 'ends', name)
  redis.call('ZREM', P .. 'due', name)
  redis.call('ZREM', P .. 'names', name)
end

-- A process of a version before `state:due` writes ends alone. Then there are more of one than of the other.
local function catch_up()
  if redis.call('HLEN', P .. 'ends') == redis.call('ZCARD', P .. 'due') then return end
  redis.call('DEL', P .. 'due')
  local ends = redis.call('HGETALL', P .. 'ends')
  for index = 1, #ends, 2 do redis.call('ZADD', P .. 'due', ends[index + 1], ends[index]) end
end

-- Removes values whose time is over, many more than a write adds.
local function sweep()
  catch_up()
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', P .. 'due', '-inf', int(now), 'LIMIT', 0, 100)) do
    local ends = redis.call('HGET', P .. 'ends', name)
    if not ends then
      redis.call('ZREM', P .. 'due', name)
    elseif tonumber(ends) <= now then
      forget(name)
    else
      redis.call('ZADD', P .. 'due', ends, name)
    end
  end
end

-- The version of a living value, 0 for none.
local function version_of(name)
  local ends = redis.call('HGET', P .. 'ends', name)
  if ends and tonumber(ends) <= now then return '0' end
  return redis.call('HGET', P .. 'versions', name) or '0'
end

local function write(name, value, ttl)
  sweep()
  redis.call('HSET', P .. 'values', name, value)
  redis.call('HSET', P .. 'versions', name, int(redis.call('HINCRBY', P .. 'meta', 'version', 1)))
  if ttl == '' then
    redis.call('HDEL', P .. 'ends', name)
    redis.call('ZREM', P .. 'due', name)
  else
    local ends = int(now + tonumber(ttl))
    redis.call('HSET', P .. 'ends', name, ends)
    redis.call('ZADD', P .. 'due', ends, name)
  end
  redis.call('ZADD', P .. 'names', 0, name)
end

local operations = {}

function operations.get(name)
  local version = version_of(name)
  if version == '0' then return {} end
  return { redis.call('HGET', P .. 'values', name), version }
end

function operations.put(name, value, expected, ttl)
  if expected ~= '' and version_of(name) ~= expected then return { '0' } end
  write(name, value, ttl)
  return { '1' }
end

function operations.delete(name)
  forget(name)
  return {}
end

function operations.list(prefix)
  local reply = {}
  -- Names are UTF-8, which has no such byte.
  for _, name in ipairs(redis.call('ZRANGEBYLEX', P .. 'names', '[' .. prefix, '(' .. prefix .. '\255')) do
    if version_of(name) ~= '0' then
      reply[#reply + 1] = name
      reply[#reply + 1] = redis.call('HGET', P .. 'values', name)
    end
  end
  return reply
end

function operations.lead(name, holder, hold)
  if version_of(name) ~= '0' and redis.call('HGET', P .. 'values', name) ~= holder then return { '0' } end
  write(name, holder, hold)
  return { '1' }
end

function operations.resign(name, holder)
  if redis.call('HGET', P .. 'values', name) == holder then forget(name) end
  return {}
end

function operations.publish(most, ...)
  local last = tonumber(redis.call('HGET', P .. 'meta', 'sequence') or '0')
  for _, event in ipairs({ ... }) do
    -- Beyond what was told before, also if this server has lost that: readers go on after their place.
    last = math.max(last + 1, now * 1024)
    redis.call('ZADD', P .. 'events', int(last), int(last) .. '|' .. event)
  end
  redis.call('HSET', P .. 'meta', 'sequence', int(last))
  local too_many = redis.call('ZCARD', P .. 'events') - tonumber(most)
  if too_many > 0 then
    local dropped = redis.call('ZRANGE', P .. 'events', too_many - 1, too_many - 1, 'WITHSCORES')[2]
    redis.call('HSET', P .. 'meta', 'dropped', int(tonumber(dropped)))
    redis.call('ZREMRANGEBYRANK', P .. 'events', 0, too_many - 1)
  end
  redis.call('PUBLISH', P .. 'live', int(last))
  return {}
end

-- The latest events after a place, oldest first.
function operations.history(after, limit)
  local found = redis.call('ZREVRANGEBYSCORE', P .. 'events', '+inf', '(' .. after, 'LIMIT', 0, tonumber(limit))
  local reply = {}
  for index = #found, 1, -1 do reply[#reply + 1] = found[index] end
  return reply
end

-- Which sequence was dropped last, and the first events after a place.
function operations.following(after, limit)
  local found = redis.call('ZRANGEBYSCORE', P .. 'events', '(' .. after, '+inf', 'LIMIT', 0, tonumber(limit))
  table.insert(found, 1, redis.call('HGET', P .. 'meta', 'dropped') or '0')
  return found
end

function operations.last()
  return { redis.call('HGET', P .. 'meta', 'sequence') or '0' }
end

return operations[ARGV[2]](unpack(ARGV, 3))
