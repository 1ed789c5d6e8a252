-- ARGV[4]: member to begin after, or empty. The reply: up to 500 buried jobs in the order of their keys, each with member,
-- record, failure and an empty lease end.
local from = ARGV[4] == '' and '-' or '(' .. ARGV[4]
local reply, subjects = {}, {}
for index, member in ipairs(redis.call('ZRANGEBYLEX', key(Q, 'dead'), from, '+', 'LIMIT', 0, 500)) do
  subjects[index] = subject(Q, member)
end
foresee(subjects)
for _, s in ipairs(subjects) do show(reply, s, packed_of(s)) end
return reply
