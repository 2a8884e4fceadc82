#!lua flags=allow-oom
-- Take an event out that was delivered before this Redis lost its memory of it, with what it added to `pending`.
--
-- KEYS  1 usage stream  2 user hash
-- ARGV  1 entry id  2 call id  3 charges: `quota|period end|amount` between spaces
-- Reply 1 dropped, 0 no longer there

local entry = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not entry or entry[2][2] ~= ARGV[2] then return {0} end
redis.call('XDEL', KEYS[1], ARGV[1])
for q, period, amount in string.gmatch(ARGV[3], '(%S+)|(%d+)|(%d+)') do
  if (redis.call('HGET', KEYS[2], q .. ':end') or '0') == period then
    local pending = tonumber(redis.call('HGET', KEYS[2], q .. ':pending') or 0)
    redis.call('HSET', KEYS[2], q .. ':pending', math.max(pending - tonumber(amount), 0))
  end
end
return {1}
