#!lua flags=allow-oom
-- Take one due batch for one attempt, for as long as a lease that is longer than any send; or a doubted one, to read
-- Zion's figures back.
--
-- Where a user has one sender at a time, the field `sending` of the user's hash names the batch that is being sent or in
-- doubt, and until when it certainly is. It counts as long as that batch is among those to be sent.
--
-- KEYS  1 batches (zset)  2 batch hash  3.. hashes of its users, where a user has one sender at a time
-- ARGV  1 batch id  2 lease, ms  3 lease for reading, ms
-- Reply now, in doubt (1: an earlier sender never reported back), then the hash; nothing when it is not due, or taken

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local due = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not due or tonumber(due) > now then return {} end
local state = redis.call('HGET', KEYS[2], 'state')
if not state then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return {}
end

for u = 3, #KEYS do
  local other, till = string.match(redis.call('HGET', KEYS[u], 'sending') or '', '^([^|]+)|?(%d*)$')
  if other and other ~= ARGV[1] and redis.call('ZSCORE', KEYS[1], other) then
    redis.call('ZADD', KEYS[1], math.max(tonumber(till) or 0, now + 250), ARGV[1])
    return {}
  end
end

for u = 3, #KEYS do redis.call('HSET', KEYS[u], 'sending', ARGV[1]) end
local doubt = state == 'sending' and 1 or 0
if doubt == 1 then redis.call('HINCRBY', KEYS[2], 'died', 1) end
redis.call('HINCRBY', KEYS[2], 'tries', 1)
if state == 'doubted' then
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
else
  redis.call('HSET', KEYS[2], 'state', 'sending', 'claimed', now)
  -- That an earlier sender was not alone stays true of its attempt.
  if doubt == 0 then redis.call('HSET', KEYS[2], 'sole', #KEYS > 2 and 1 or 0) end
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
end
local reply = {now, doubt}
for _, value in ipairs(redis.call('HGETALL', KEYS[2])) do reply[#reply + 1] = value end
return reply
