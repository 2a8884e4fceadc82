#!lua flags=no-writes
-- Which batches may be attempted now?
--
-- KEYS  1 batches (zset)
-- ARGV  1 at most so many
-- Reply ms until the next one is due (0 when some are, -1 when there is none), then the ids of those due

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local reply = {0}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do reply[#reply + 1] = id end
if #reply == 1 then
  local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  reply[1] = next[2] and tonumber(next[2]) - now or -1
end
return reply
