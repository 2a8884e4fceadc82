#!lua flags=allow-oom
-- Permits to send: a sliding log of the last second over all processes, in Redis' time, and a common pause.
-- A permit counts for 50 ms longer: a send may begin so long after it (usage/gate.py), and no second may see too many.
--
-- KEYS  1 permits (zset): one member per send, by its time in ms; the member `pause` has the time when it ends
-- ARGV  1 take | give | pause  2 the send's own id  3 sends per second (take), or how long to pause, ms (pause)
-- Reply granted (0|1), wait ms

local key, op = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

if op == 'give' then
  redis.call('ZREM', key, ARGV[2])
  return {1, 0}
end
local pause = tonumber(redis.call('ZSCORE', key, 'pause') or 0)
if op == 'pause' then
  redis.call('ZADD', key, math.max(pause, now + tonumber(ARGV[3])), 'pause')
  return {1, 0}
end

-- Times are whole milliseconds: one exactly that old may be younger by a fraction, so it still counts.
if pause > now then return {0, pause - now} end
redis.call('ZREM', key, 'pause')
redis.call('ZREMRANGEBYSCORE', key, '-inf', '(' .. string.format('%d', now - 1050))
if redis.call('ZCARD', key) < tonumber(ARGV[3]) then
  redis.call('ZADD', key, now, ARGV[2])
  return {1, 0}
end
local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
return {0, tonumber(oldest[2]) + 1051 - now}
