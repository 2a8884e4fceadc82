#!lua flags=allow-oom
-- Give back the hold of a call that provably never left. Leaves a marker, so that an admit of the same call whose
-- answer was lost and that runs late finds it and holds nothing.
--
-- KEYS  1 user hash  2 call hash  3 leases (zset)  4 tokens of the calls in the rate window (hash)
-- ARGV  1 call id  2 how long the marker stays, ms
-- Reply 1 if a hold was given back, else 0

local user, call = KEYS[1], KEYS[2]
local found = redis.call('HMGET', call, 'state', 'hold')
if found[1] and found[1] ~= 'open' then return {0} end
redis.call('DEL', call)
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('HSET', call, 'state', 'released')
redis.call('PEXPIRE', call, ARGV[2])
if not found[1] then return {0} end
for q, period, amount in string.gmatch(found[2], '(%S+)|(%d+)|(%d+)') do
  if (redis.call('HGET', user, q .. ':end') or '0') == period then
    redis.call('HINCRBY', user, q .. ':held', -tonumber(amount))
  end
end
redis.call('HINCRBY', user, 'active', -1)
redis.call('HDEL', KEYS[4], ARGV[1])
return {1}
