#!lua
-- A known period has ended: start the next one with nothing used, before Zion was asked.
--
-- KEYS  1 user hash
-- ARGV  1 quota key  2 end of the period that ended, ms  3 end of the next, ms
-- Reply 1 rolled, 0 somebody else did

local user, q = KEYS[1], ARGV[1]
if (redis.call('HGET', user, q .. ':end') or '0') ~= ARGV[2] then return {0} end
redis.call('HSET', user, q .. ':used', 0, q .. ':pending', 0, q .. ':held', 0, q .. ':end', ARGV[3])
redis.call('HDEL', user, q .. ':doubt')
return {1}
