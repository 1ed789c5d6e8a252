-- The reply: whether a lease would find work now, and when there may be some, or empty; and the time.
local next_at = next_time(Q)
return { has_work(Q) and '1' or '0', next_at and int(next_at) or '', int(now) }
