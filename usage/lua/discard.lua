#!lua flags=allow-oom
-- Give up a batch that is set aside: it leaves Redis, and what its events added to `pending` is given back unused.
-- Zion may have it all the same (a held batch): the part in doubt ends with it, Zion's figure is no longer a sure one,
-- and the next call of each user has its limits fetched anew. Fields of a user: limits/lua/admit.lua, store.lua.
--
-- KEYS  1 batch hash  2 held  3 dead (zsets)  4.. user hashes
-- ARGV  1 batch id  2 state that may be left  then per charge: index of its user in KEYS, quota, period end, amount
-- Reply 1 discarded, 0 it moved meanwhile

local was = redis.call('HGET', KEYS[1], 'state')
if was ~= ARGV[2] then return {0} end

local function take(user, field, amount)
  local left = tonumber(redis.call('HGET', user, field) or 0) - tonumber(amount)
  if left > 0 then redis.call('HSET', user, field, string.format('%d', left)) else redis.call('HDEL', user, field) end
end

redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
for i = 3, #ARGV, 4 do
  local user, quota = KEYS[tonumber(ARGV[i])], ARGV[i + 1]
  if (redis.call('HGET', user, quota .. ':end') or '0') == ARGV[i + 2] then
    take(user, quota .. ':pending', ARGV[i + 3])
    if was == 'held' then
      take(user, quota .. ':doubt', ARGV[i + 3])
      redis.call('HDEL', user, quota .. ':zion')
    end
  end
end
for i = 4, #KEYS do redis.call('HSET', KEYS[i], 'refresh_due', 1) end
return {1}
