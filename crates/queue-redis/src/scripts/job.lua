-- ARGV[4]: member. The reply: record, last failure, end of its lease; or nothing.
local s = subject(ARGV[4])
local packed = packed_of(Q, s)
if not packed then return {} end
local record = decode(Q, s, packed)
local ends = record.token ~= '' and redis.call('ZSCORE', key(Q, 'leases'), record.token)
return { packed, record.failure or '', ends and int(tonumber(ends)) or '' }
