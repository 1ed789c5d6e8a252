-- ARGV[4]: padded repository, or empty for the whole queue; ARGV[5]: end in milliseconds, or empty to resume;
-- ARGV[6]: reason.
if ARGV[4] == '' then
  if ARGV[5] == '' then
    redis.call('HDEL', key(Q, 'meta'), 'paused', 'paused_why')
  else
    redis.call('HSET', key(Q, 'meta'), 'paused', ARGV[5], 'paused_why', ARGV[6])
  end
elseif ARGV[5] == '' then
  redis.call('ZREM', key(Q, 'pauses'), ARGV[4])
  redis.call('HDEL', key(Q, 'pauses_why'), ARGV[4])
else
  redis.call('ZADD', key(Q, 'pauses'), ARGV[5], ARGV[4])
  redis.call('HSET', key(Q, 'pauses_why'), ARGV[4], ARGV[6])
end
wake(Q)
return 'OK'
