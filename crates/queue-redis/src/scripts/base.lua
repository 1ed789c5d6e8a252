-- What all scripts begin with: time, policy, keys.
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

-- Bytes, whatever the server's collation.
local function less(a, b)
  local length = math.min(#a, #b)
  for index = 1, length do
    local x, y = string.byte(a, index), string.byte(b, index)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local function smaller(a, b)
  if a == nil then return b end
  if b == nil then return a end
  return math.min(a, b)
end
