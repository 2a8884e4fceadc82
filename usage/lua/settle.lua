#!lua flags=allow-oom
-- Replace a reservation by the actual and append its usage event, once. Passes when Redis is full, or usage were lost.
--
-- KEYS  1 user hash  2 call hash  3 leases (zset)  4 usage stream  5 tokens of the calls in the rate window (hash)
-- ARGV  1 call id  2 event JSON  3 input  4 output  5 requests  6 how long the marker stays, ms
--       7 settled | reaped
-- Reply status (settled | duplicate | corrected | alive), stream entry id, waiting events

local user, call, leases, stream = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, as = ARGV[1], ARGV[7]
local actual = {input = tonumber(ARGV[3]), output = tonumber(ARGV[4]), requests = tonumber(ARGV[5])}
local found = redis.call('HMGET', call, 'state', 'hold', 'input', 'output', 'requests')
local state = found[1]

if as == 'reaped' then
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local lease = redis.call('ZSCORE', leases, id)
  if state ~= 'open' then
    redis.call('ZREM', leases, id)
    return {'duplicate', '', redis.call('XLEN', stream)}
  end
  if lease and tonumber(lease) > now then return {'alive', '', redis.call('XLEN', stream)} end
elseif state == 'settled' or state == 'released' then
  return {'duplicate', '', redis.call('XLEN', stream)}
end

-- What the reaper recorded stands; only what it did not know is added, never taken away.
local status = 'settled'
if state == 'reaped' then
  status = 'corrected'
  local more = 0
  for i, metric in ipairs({'input', 'output', 'requests'}) do
    actual[metric] = math.max(actual[metric] - tonumber(found[2 + i] or 0), 0)
    more = more + actual[metric]
  end
  if more == 0 then
    redis.call('HSET', call, 'state', 'settled')
    return {status, '', redis.call('XLEN', stream)}
  end
end

local charges = {}
for q, period, amount in string.gmatch(found[2] or '', '(%S+)|(%d+)|(%d+)') do
  local used = actual[string.match(q, '[^.]+$')] or 0
  if (redis.call('HGET', user, q .. ':end') or '0') == period then
    if state == 'open' and amount ~= '0' then redis.call('HINCRBY', user, q .. ':held', -tonumber(amount)) end
    if used > 0 then redis.call('HINCRBY', user, q .. ':pending', used) end
  end
  if used > 0 then charges[#charges + 1] = q .. '|' .. period .. '|' .. string.format('%d', used) end
end
if state == 'open' then redis.call('HINCRBY', user, 'active', -1) end
-- A call that this Redis does not know (it lost its data, and the journal brings it back): counted against the quotas
-- of the present period, on the refusing side.
if not state then
  for q in string.gmatch(redis.call('HGET', user, 'quotas') or '', '%S+') do
    local used = actual[string.match(q, '[^.]+$')] or 0
    if used > 0 then
      redis.call('HINCRBY', user, q .. ':pending', used)
      charges[#charges + 1] = q .. '|' .. (redis.call('HGET', user, q .. ':end') or '0') .. '|' .. string.format('%d', used)
    end
  end
end

local event = ARGV[2]
if status == 'corrected' then
  event = string.gsub(event, '"input":%d+,"output":%d+,"requests":%d+', string.format(
    '"input":%d,"output":%d,"requests":%d', actual.input, actual.output, actual.requests), 1)
  -- Details are of the whole call, and these figures are a rest of it. Inside a text the quotes would be escaped.
  event = string.gsub(event, ',"details":{[^}]*}', '', 1)
  event = string.gsub(event, '"call_id":"([^"]+)"', '"call_id":"%1#1"', 1)
end
-- `r`: this Redis has no memory of the call, so the worker asks the history before it sends it again.
local entry = redis.call('XADD', stream, '*', 'c', id, 'e', event, 'q', table.concat(charges, ' '), 'r', state and '0' or '1')
redis.call('DEL', call)
redis.call('HSET', call, 'state', as == 'reaped' and 'reaped' or 'settled', 'hold', found[2] or '',
  'input', ARGV[3], 'output', ARGV[4], 'requests', ARGV[5])
redis.call('PEXPIRE', call, ARGV[6])
redis.call('ZREM', leases, id)
if redis.call('HEXISTS', KEYS[5], id) == 1 then
  redis.call('HSET', KEYS[5], id, tonumber(ARGV[3]) + tonumber(ARGV[4]))
end
return {status, entry, redis.call('XLEN', stream)}
