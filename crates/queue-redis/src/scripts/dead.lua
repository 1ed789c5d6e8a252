-- ARGV[4]: member to begin after, or empty. The reply: up to 500 buried members in the order of their keys.
local from = ARGV[4] == '' and '-' or '(' .. ARGV[4]
return redis.call('ZRANGEBYLEX', key(Q, 'dead'), from, '+', 'LIMIT', 0, 500)
