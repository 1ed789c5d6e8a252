-- ARGV[4…]: members. What waits or is buried goes, what is worked on is doomed. The reply: how many there were.
local removed = 0
for index = 4, #ARGV do
  local s = subject(Q, ARGV[index])
  local old = read(s)
  if old then
    removed = removed + 1
    store(s, old, remove(copy(old)))
  end
end
flush()
return int(removed)
