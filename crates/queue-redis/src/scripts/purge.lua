-- Removes jobs that match, a bounded piece a call. Each is judged and removed in this one step, so that one which changed
-- since the piece before is taken as it is now.
-- ARGV[4]: padded repository to begin with, or empty; ARGV[5]: bucket to begin with, or `p` for parts and texts, of
-- buried jobs the member to begin after; ARGV[6]: `1` to stay in that repository; then lane, letter of the state, first
-- and last number, each empty for any.
-- The reply: repository and place to go on with (an empty place at the end), how many went, how many are doomed.
local padded, place, only = ARGV[4], ARGV[5], ARGV[6] == '1'
local lane, state, first, last = tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
local MOST = 200
local removed, doomed = 0, 0

local function has_enough() return removed + doomed >= MOST end

local function take(s, packed)
  if state ~= '' and string.sub(packed, 1, 1) ~= state then return end
  if first and not (s.number and s.number >= first and s.number <= last) then return end
  local old = decode(s, packed)
  if lane and old.lane ~= lane then return end
  local new = remove(copy(old), lane)
  store(s, old, new)
  if new then doomed = doomed + 1 else removed = removed + 1 end
end

-- Buried jobs are few and have an index of their own.
local function take_buried()
  local from = place ~= '' and '(' .. place or padded ~= '' and '[' .. padded or '-'
  -- Behind the number of a repository stands `#` or `/`.
  local to = only and '(' .. padded .. '0' or '+'
  local members = redis.call('ZRANGEBYLEX', key(Q, 'dead'), from, to, 'LIMIT', 0, MOST)
  local subjects = {}
  for index, member in ipairs(members) do subjects[index] = subject(Q, member) end
  foresee(subjects)
  for _, s in ipairs(subjects) do take(s, packed_of(s)) end
  return padded, #members == MOST and members[MOST] or ''
end

local next_padded, next_place
if state == 'X' then
  next_padded, next_place = take_buried()
else
  next_padded, next_place = walk(padded, place, only, has_enough, take)
  -- Behind the last bucket of the numbers there is nothing to find in this repository.
  if only and last and (next_place == 'p' or (tonumber(next_place) or 0) * 64 > last) then
    next_padded, next_place = '', ''
  end
end
flush()
return { next_padded, next_place, removed, doomed }
