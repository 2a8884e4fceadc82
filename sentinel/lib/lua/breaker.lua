#!lua flags=allow-oom
-- The circuit breaker: closed, open, half-open, shared by all processes, in Redis' time.
--
-- KEYS  1 breaker hash (state closed|open, failures, until, generation, probe, probe_until)
-- ARGV  1 admit | success | failure | trip | abandon | look
--       2 failures that open  3 stays open for, ms  4 a probe lapses after, ms  5 the token that admit gave
-- Reply granted (0|1), token, wait ms, state after, transition ('' when the state stays)

local key, op = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local found = redis.call('HMGET', key, 'state', 'failures', 'until', 'generation', 'probe', 'probe_until')
local is_open = found[1] == 'open'
local pause, generation = tonumber(found[3] or 0), found[4] or '0'
local probe_until = tonumber(found[6] or 0)
local is_probing = is_open and probe_until > now
local state = is_open and (is_probing and 'half_open' or 'open') or 'closed'

local function open(transition)
  generation = redis.call('HINCRBY', key, 'generation', 1)
  redis.call('HSET', key, 'state', 'open', 'failures', 0, 'until', now + tonumber(ARGV[3]), 'probe', '', 'probe_until', 0)
  return {0, '', tonumber(ARGV[3]), 'open', transition}
end

if op == 'look' then return {is_open and 0 or 1, '', is_open and math.max(pause - now, 0) or 0, state, ''} end

if op == 'admit' then
  if not is_open then return {1, tostring(generation), 0, 'closed', ''} end
  if pause > now then return {0, '', pause - now, 'open', ''} end
  if is_probing then return {0, '', probe_until - now, 'half_open', ''} end
  local probe = tostring(redis.call('HINCRBY', key, 'generation', 1))
  redis.call('HSET', key, 'probe', probe, 'probe_until', now + tonumber(ARGV[4]))
  return {1, probe, 0, 'half_open', 'half_open'}
end

if op == 'trip' then return open(is_open and '' or 'opened') end

if is_open then
  -- Only the probe's own outcome counts: answers to requests sent before the opening come late and prove nothing.
  if found[5] ~= ARGV[5] then return {0, '', 0, state, ''} end
  if op == 'abandon' then
    redis.call('HSET', key, 'probe', '', 'probe_until', 0)
    return {0, '', 0, 'open', ''}
  end
  if op == 'failure' then return open('reopened') end
  redis.call('HSET', key, 'state', 'closed', 'failures', 0, 'probe', '', 'probe_until', 0)
  return {1, '', 0, 'closed', 'closed'}
end

if op == 'success' then
  redis.call('HSET', key, 'failures', 0)
elseif op == 'failure' and tonumber(ARGV[5]) >= tonumber(generation) and redis.call('HINCRBY', key, 'failures', 1) >= tonumber(ARGV[2]) then
  return open('opened')
end
return {1, '', 0, 'closed', ''}
