#!lua flags=allow-oom
-- From now on, tokens of this user that were validated before must be validated again.
--
-- KEYS  1 user hash
-- Reply the time of the revocation, ms

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('HSET', KEYS[1], 'revoked_at', now)
return {now}
