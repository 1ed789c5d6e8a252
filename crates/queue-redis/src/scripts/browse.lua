-- Walks jobs in the order of their keys, a bounded piece a call. ARGV[4]: padded repository to begin with, or empty;
-- ARGV[5]: bucket to begin with, or `p` for parts and texts; ARGV[6]: `1` to stay in that repository.
-- The reply: repository and bucket to go on with (empty at the end), then member, record, failure and lease end of
-- each job found.
local reply = { '', '' }
local function has_enough() return #reply >= 2000 end
local function take(s, packed) show(reply, s, packed) end
reply[1], reply[2] = walk(ARGV[4], ARGV[5], ARGV[6] == '1', has_enough, take)
return reply
