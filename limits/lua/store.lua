#!lua
-- Store a snapshot of Zion's limits, unless a delivery of this user was confirmed since its fetch began: then Zion's
-- figures and ours do not belong together, and it is fetched again.
--
-- KEYS  1 user hash
-- ARGV  1 deliveries seen before the fetch  2 count of quotas  3.. per quota: key, limit, used, period end ms, reset
--       (an empty list of limits: count -1)
-- Reply 1 stored, 0 fetch again

local user = KEYS[1]
if (redis.call('HGET', user, 'deliveries') or '0') ~= ARGV[1] then return {0} end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local count = tonumber(ARGV[2])
redis.call('HSET', user, 'fetched_at', now)
redis.call('HDEL', user, 'refreshing', 'refresh_due')
if count < 0 then
  redis.call('HDEL', user, 'quotas')
  return {1}
end
local is_sending = redis.call('HEXISTS', user, 'sending') == 1
local keys = {}
for i = 0, count - 1 do
  local q, limit, used, period_end, reset = unpack(ARGV, 3 + i * 5, 7 + i * 5)
  local known = tonumber(redis.call('HGET', user, q .. ':end') or -1)
  local ends = tonumber(period_end)
  local is_stored = true
  -- While the period that we know runs, Zion may move its end: it stays the same period, under the end that its calls
  -- carry, or what they hold and have not confirmed would be forgotten. An end that is over, when ours is not, means
  -- that we have rolled over and Zion has not yet.
  local is_running, is_over = known > now, ends > 0 and ends <= now
  if not is_running and ends ~= known then
    -- A new period: what earlier calls hold and have not confirmed belongs to the old one.
    redis.call('HSET', user, q .. ':used', used, q .. ':pending', 0, q .. ':held', 0, q .. ':end', period_end)
    redis.call('HDEL', user, q .. ':doubt')
  elseif ends == known or not is_over then
    period_end = string.format('%d', known)
    -- `q:doubt`, a part of `q:pending`: usage of unknown outcome that an operator decides on. It may be in Zion's figure
    -- already, and must not shrink the quota twice.
    local doubt = tonumber(redis.call('HGET', user, q .. ':doubt') or 0)
    redis.call('HSET', user, q .. ':used', doubt > 0 and string.format('%d', math.max(used - doubt, 0)) or used)
  else
    is_stored = false
  end
  -- While nothing of ours is under way, the figure is one that later ones can be compared with (usage/lua/resolve.lua).
  if is_stored and not is_sending then redis.call('HSET', user, q .. ':zion', period_end .. '|' .. used) end
  redis.call('HSET', user, q .. ':limit', limit, q .. ':reset', reset)
  keys[#keys + 1] = q
end
redis.call('HSET', user, 'quotas', table.concat(keys, ' '))
return {1}
