#!lua flags=allow-oom
-- Freeze what one request to Zion will say: all members still wait in the stream, or nothing is changed.
-- Passes when Redis is full: sealing frees what it stores.
--
-- KEYS  1 usage stream  2 batch hash  3 zset that takes the batch  4.. hashes of its users, where the batch is claimed
--       at once and a user has one sender at a time (see claim.lua)
-- ARGV  1 batch id  2 due in, ms  3 number n of fields  4..3+2n field, value  then per member: entry id, call id
-- Reply sealed (0|1), now

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local first = 4 + 2 * tonumber(ARGV[3])

if redis.call('EXISTS', KEYS[2]) == 1 then return {0, now} end
for i = first, #ARGV, 2 do
  local entry = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  if not entry then return {0, now} end
  -- A server that lost its last second may give an id a second time, to another call.
  local call = ''
  for f = 1, #entry[2], 2 do
    if entry[2][f] == 'c' then call = entry[2][f + 1] end
  end
  if ARGV[i + 1] ~= '' and call ~= ARGV[i + 1] then return {0, now} end
end

for u = 4, #KEYS do
  local other = string.match(redis.call('HGET', KEYS[u], 'sending') or '', '^[^|]+')
  if other and redis.call('ZSCORE', KEYS[3], other) then return {0, now} end
end

for u = 4, #KEYS do redis.call('HSET', KEYS[u], 'sending', ARGV[1]) end
for i = 4, first - 1, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
redis.call('HSET', KEYS[2], 'created', now, 'claimed', now)
redis.call('ZADD', KEYS[3], now + tonumber(ARGV[2]), ARGV[1])
for i = first, #ARGV, 2 do redis.call('XDEL', KEYS[1], ARGV[i]) end
return {1, now}
