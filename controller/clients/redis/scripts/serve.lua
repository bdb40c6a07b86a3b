
-- serve: say that an operator serves this pool, and let keys that have no end of their own expire after the last one.
--
-- KEYS
--   3 served
--   4 incarnation
--   5 fence:<shard>
--   6 signals-done
--   7 webhooks:<shard>
--   8 signals
--   9 events
--   10 disconnects
-- ARGV
--   3 version    of the operator
--   4 heartbeat  how often a client is expected to beat (s)
--   5 namespace  of the pool
--   6 ttl        how long this holds (ms)
--   7 keep       how long the other keys stay (ms)
-- ANSWERS
--   OK  written
-- REDIS 6.2

local served = KEYS[3]

local refused = refusal(false)
if refused then
  return refused
end
redis.call('HSET', served, 'version', ARGV[3], 'heartbeatSeconds', ARGV[4], 'namespace', ARGV[5])
redis.call('PEXPIRE', served, ARGV[6])
for n = 4, #KEYS do
  redis.call('PEXPIRE', KEYS[n], ARGV[7])
end
return {'OK'}
