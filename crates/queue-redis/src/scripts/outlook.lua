-- The reply: whether a lease would find work now, and when there may be some, or empty; and the time.
local work, next_at = outlook(Q)
return { work and '1' or '0', next_at and int(next_at) or '', int(now) }
