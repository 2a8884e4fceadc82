#!lua
-- The state of a rate window, for answers that are not decided by `admit`.
--
-- KEYS  1 rate window (zset)
-- ARGV  1 window, ms
-- Reply calls in the window, when the oldest leaves it (ms)

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local since = '(' .. string.format('%d', now - tonumber(ARGV[1]))
local oldest = redis.call('ZRANGEBYSCORE', KEYS[1], since, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
return {redis.call('ZCOUNT', KEYS[1], since, '+inf'), (oldest[2] and tonumber(oldest[2]) or now) + tonumber(ARGV[1])}
