-- ARGV[4…]: members. What is buried is made ready with fresh attempts. The reply: how many were.
local revived = 0
for index = 4, #ARGV do
  local s = subject(Q, ARGV[index])
  local old = read(s)
  if old and old.state == 'X' then
    local new = copy(old)
    new.attempts, new.lost, new.not_before = 0, math.min(old.lost, 1), 0
    new.lane, new.first, new.last, new.hard = 1, now, now, now
    new.state, new.at = 'R', now
    store(s, old, new)
    revived = revived + 1
  end
end
flush()
return int(revived)
