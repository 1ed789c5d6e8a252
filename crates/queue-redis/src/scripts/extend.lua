-- ARGV[4]: token; ARGV[5]: hold in milliseconds. The reply: the new end, or empty if the lease is lost.
if not redis.call('ZSCORE', key(Q, 'leases'), ARGV[4]) then return '' end
local ends = int(now + tonumber(ARGV[5]))
redis.call('ZADD', key(Q, 'leases'), ends, ARGV[4])
return ends
