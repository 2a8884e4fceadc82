#!lua
-- May this call happen? All checks first, then all writes: an error in Lua does not roll back.
-- Without allow-oom: a full Redis refuses this script, and so admission.
--
-- KEYS  1 user hash  2 rate window (zset)  3 call hash  4 leases (zset)  5 waiting (zset)  6 waiting, last seen (hash)
--       7 tokens of the calls in the rate window (hash)
-- ARGV  1 call id            2 external id          3 token validated at, ms   4 rate limit      5 rate window, ms
--       6 concurrent calls   7 lease, ms            8 mode hard|soft|observe   9 input asked    10 choices
--      11 output cap asked, -1 none                12 generous cap            13 floor          14 share
--      15 least output      16 requests asked      17 limits fresh for, ms    18 limits may be stale for, ms
--      19 refresh after, ms 20 the event so far, JSON  21 output that may pass before Redis must know more
--      22 longest wait for holds of other calls, ms; 0 refuses instead
--      23 calls in any second, 0 no bound           24 tokens per rate window, 0 no bound
--      25 nobody waits for the answer after, ms
-- Reply decision, now, rate limit remaining, rate reset ms, cap, held input, held output, refresh due, would refuse,
--       quota key, limit, used, held, period end, calls waiting before this one   (AdmitReply in
--       limits/replies.py, same order). Of an admitted call, the quota key is what is left beside its hold of each
--       limited metric: `input=1, output=2`
--
-- User hash, per quota key q (`name.metric`): q:limit q:used (Zion's) q:pending (settled, not confirmed) q:held
-- q:end (period end ms, 0 none) q:reset; besides: quotas fetched_at refreshing refresh_due deliveries revoked_at
-- blocked active.

local user, rate, call, leases, waiting, seen, rate_tokens = unpack(KEYS)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local rate_limit, window, mode = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[8]
local ask_input, choices, cap = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local generous, least, ask_requests = tonumber(ARGV[12]), tonumber(ARGV[15]), tonumber(ARGV[16])

local function reply(decision, fields)
  fields = fields or {}
  return {decision, now, fields.remaining or -1, fields.reset or 0, fields.cap or -1, fields.input or 0,
    fields.output or 0, fields.refresh or 0, fields.would or '', fields.quota or '', fields.limit or 0,
    fields.used or 0, fields.held or 0, fields.period_end or 0, fields.before or 0}
end

-- 0. Nobody waits for the answer any more: a hold now would be one that no call uses.
if now > tonumber(ARGV[25]) then return reply('late') end

-- 1. Was this very call decided before? Then its answer was lost, and the caller must not dispatch on a guess.
if redis.call('EXISTS', call) == 1 then return reply('duplicate') end

-- 2. The user: revoked, blocked, limits known and fresh enough.
local state = redis.call('HMGET', user, 'revoked_at', 'blocked', 'fetched_at', 'quotas', 'active', 'refreshing', 'refresh_due')
if state[2] then return reply('blocked') end
if state[1] and tonumber(state[1]) >= tonumber(ARGV[3]) then return reply('revoked') end
if not state[3] then return reply('unknown') end
local age = now - tonumber(state[3])
if age > tonumber(ARGV[17]) + tonumber(ARGV[18]) then return reply('stale') end
if not state[4] then return reply('empty') end

-- 3. The rate window: admitted calls younger than the window.
local since = '(' .. string.format('%d', now - window)
local recent = redis.call('ZCOUNT', rate, since, '+inf')
local oldest = redis.call('ZRANGEBYSCORE', rate, since, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local reset = (oldest[2] and tonumber(oldest[2]) or now) + window
local would = ''
if recent >= rate_limit then
  if mode ~= 'observe' then return reply('rate', {remaining = 0, reset = reset}) end
  would = 'rate'
end
local burst = tonumber(ARGV[23])
if burst > 0 and redis.call('ZCOUNT', rate, '(' .. string.format('%d', now - 1000), '+inf') >= burst then
  if mode ~= 'observe' then return reply('rate', {remaining = 0, reset = now + 1000}) end
  would = 'rate'
end
if tonumber(state[5] or 0) >= tonumber(ARGV[6]) then
  if mode ~= 'observe' then return reply('concurrent', {remaining = rate_limit - recent, reset = reset}) end
  would = 'concurrent'
end

-- 4. The quotas: what is free of each, and what other calls hold of it.
local quotas, free_output, left_output, held_output = {}, nil, nil, 0
for q in string.gmatch(state[4], '%S+') do
  local f = redis.call('HMGET', user, q .. ':limit', q .. ':used', q .. ':pending', q .. ':held', q .. ':end')
  local quota = {key = q, metric = string.match(q, '[^.]+$'), limit = tonumber(f[1]), held = tonumber(f[4] or 0),
    used = tonumber(f[2] or 0) + tonumber(f[3] or 0), period_end = tonumber(f[5] or 0)}
  if quota.period_end > 0 and now >= quota.period_end then
    return reply('period', {quota = q, period_end = quota.period_end})
  end
  quota.free = quota.limit - quota.used - quota.held
  quotas[#quotas + 1] = quota
  if quota.metric == 'output' then
    free_output = math.min(free_output or quota.free, quota.free)
    left_output = math.min(left_output or quota.limit, quota.limit - quota.used)
    held_output = math.max(held_output, quota.held)
  end
end

-- 5. Who waits already? A call that stopped asking for a second loses its place; this one keeps its own.
local longest_wait, before, others, gone = tonumber(ARGV[22]), 0, 0, {}
if mode == 'hard' and longest_wait > 0 then
  local place = redis.call('ZRANK', waiting, ARGV[1])
  others = redis.call('ZCARD', waiting) - (place and 1 or 0)
  before = place or others
  for _, id in ipairs(before > 0 and redis.call('ZRANGE', waiting, 0, before - 1) or {}) do
    if now - tonumber(redis.call('HGET', seen, id) or 0) <= 1000 then break end
    gone[#gone + 1] = id
  end
  before, others = before - #gone, others - #gone
end

-- 6. The output cap per choice: as given, at most what is left of the quota; or granted: all while nobody else holds
--    or waits, else a share of what is free, not below the floor. No output quota leaves it alone.
local granted = cap
if left_output and mode == 'hard' and choices > 0 then
  local most = math.max(math.floor(left_output / choices), least)
  if cap >= 0 then
    granted = math.min(cap, most)
  else
    local part = math.max(free_output / tonumber(ARGV[14]), tonumber(ARGV[13]) * choices)
    if held_output == 0 and others == 0 then part = free_output end
    granted = math.max(math.min(math.floor(part / choices), generous, most), least)
  end
end
local hold_output = choices * (granted >= 0 and granted or generous)
if mode ~= 'hard' and cap < 0 then hold_output = choices * math.min(generous, tonumber(ARGV[13])) end
hold_output = math.min(hold_output, 9007199254740992)  -- 2^53: above every limit, and still an exact integer

-- 7. Tokens per window: what the calls in it used, or hold while they run. A grant is lowered to what is free of it.
local token_limit = tonumber(ARGV[24])
if token_limit > 0 then
  local calls = redis.call('ZRANGEBYSCORE', rate, since, '+inf', 'WITHSCORES')
  local entries, sum = {}, 0
  for i = 1, #calls, 2 do
    local tokens = tonumber(redis.call('HGET', rate_tokens, calls[i]) or 0)
    entries[#entries + 1] = {tokens, tonumber(calls[i + 1])}
    sum = sum + tokens
  end
  local room = token_limit - sum - ask_input
  if cap < 0 and granted >= 0 and choices > 0 and room >= choices * least and room < hold_output then
    granted = math.floor(room / choices)
    hold_output = choices * granted
  end
  if room < hold_output and ask_requests > 0 then
    for _, entry in ipairs(entries) do
      room, reset = room + entry[1], entry[2] + window
      if room >= hold_output then break end
    end
    if mode ~= 'observe' then
      return reply('tokens', {remaining = rate_limit - recent, reset = reset, limit = token_limit, used = sum})
    end
    would = 'tokens'
  end
end

-- 8. Does it fit? A metric of which nothing is asked is not looked at. What the used quota keeps out is refused; what
--    only holds of other calls keep out, or calls that came before, waits.
local ask = {input = ask_input, output = hold_output, requests = ask_requests}
local short = nil
for _, quota in ipairs(quotas) do
  local wanted = ask[quota.metric] or 0
  local fits = quota.free >= wanted and before == 0
  if mode == 'soft' then
    fits = quota.used < quota.limit
    if fits and wanted > quota.free then would = quota.key end
  end
  if wanted > 0 and not fits then
    quota.decision = quota.limit - quota.used >= wanted and 'held' or 'quota'
    if short == nil or (short.decision == 'held' and quota.decision == 'quota') then short = quota end
  end
end
if short and mode == 'observe' then
  would = short.key
elseif short then
  local decision = short.decision
  if decision == 'held' and longest_wait > 0 then
    decision = 'wait'
    for _, id in ipairs(gone) do
      redis.call('ZREM', waiting, id)
      redis.call('HDEL', seen, id)
    end
    -- In microseconds: calls of one millisecond came one after the other, too.
    redis.call('ZADD', waiting, 'NX', tonumber(time[1]) * 1000000 + tonumber(time[2]), ARGV[1])
    redis.call('HSET', seen, ARGV[1], now)
    redis.call('PEXPIRE', waiting, longest_wait + 5000)
    redis.call('PEXPIRE', seen, longest_wait + 5000)
  end
  return reply(decision, {remaining = rate_limit - recent, reset = reset, quota = short.key, limit = short.limit,
    used = short.used, held = short.held, period_end = short.period_end, before = before})
end

-- 9. Writes.
if longest_wait > 0 and redis.call('ZREM', waiting, ARGV[1]) == 1 then redis.call('HDEL', seen, ARGV[1]) end
local holds, left, shown = {}, {}, {}
for _, quota in ipairs(quotas) do
  local wanted = ask[quota.metric] or 0
  if wanted > 0 then redis.call('HINCRBY', user, quota.key .. ':held', wanted) end
  holds[#holds + 1] = quota.key .. '|' .. string.format('%d', quota.period_end) .. '|' .. string.format('%d', wanted)
  local known = left[quota.metric]
  if not known then shown[#shown + 1] = quota.metric end
  left[quota.metric] = math.max(math.min(known or quota.limit, quota.free - wanted), 0)
end
for i, metric in ipairs(shown) do shown[i] = metric .. '=' .. string.format('%d', left[metric]) end
redis.call('HINCRBY', user, 'active', 1)
redis.call('HSET', call, 'state', 'open', 'external_id', ARGV[2], 'admitted', now, 'hold', table.concat(holds, ' '),
  'input', ask_input, 'output', hold_output, 'requests', ask_requests, 'event', ARGV[20], 'received', ARGV[21])
redis.call('ZADD', leases, now + tonumber(ARGV[7]), ARGV[1])
if token_limit > 0 then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', rate, '-inf', string.format('%d', now - window))) do
    redis.call('HDEL', rate_tokens, id)
  end
  redis.call('HSET', rate_tokens, ARGV[1], ask_input + hold_output)
  redis.call('PEXPIRE', rate_tokens, window)
end
redis.call('ZREMRANGEBYSCORE', rate, '-inf', string.format('%d', now - window))
redis.call('ZADD', rate, now, ARGV[1])
redis.call('PEXPIRE', rate, window)
local refresh = 0
if (age > tonumber(ARGV[19]) or state[7]) and tonumber(state[6] or 0) < now then
  redis.call('HSET', user, 'refreshing', now + 5000)  -- one caller refreshes; another may after 5 s
  refresh = 1
end
return reply('admitted', {remaining = math.max(rate_limit - recent - 1, 0), reset = reset, cap = granted,
  input = ask_input, output = hold_output, refresh = refresh, would = would, quota = table.concat(shown, ', ')})
