-- ARGV[4]: member. The reply: record, last failure, end of its lease; or nothing.
local s = subject(Q, ARGV[4])
local packed = packed_of(s)
if not packed then return {} end
local record = decode(s, packed)
local ends = record.token ~= '' and redis.call('ZSCORE', key(Q, 'leases'), record.token)
return { packed, record.failure or '', ends and int(tonumber(ends)) or '' }
