#!lua flags=allow-oom
-- The owner of these calls lives: move their leases, note how much output each has received so far, which only grows.
--
-- KEYS  1 leases (zset)  2.. call hashes
-- ARGV  1 lease, ms  2.. per call: call id, output so far
-- Reply how many were still open

local time = redis.call('TIME')
local deadline = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + tonumber(ARGV[1])
local open = 0
for i = 2, #KEYS do
  local found = redis.call('HMGET', KEYS[i], 'state', 'received')
  if found[1] == 'open' then
    redis.call('ZADD', KEYS[1], deadline, ARGV[2 * i - 2])
    if tonumber(ARGV[2 * i - 1]) > tonumber(found[2] or 0) then redis.call('HSET', KEYS[i], 'received', ARGV[2 * i - 1]) end
    open = open + 1
  end
end
return {open}
