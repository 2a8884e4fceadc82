#!lua flags=allow-oom
-- Write down what became of one attempt, once: move the batch, credit its users, seal what must be sent anew.
-- An applied outcome counts from whichever attempt it comes, since all attempts send the same bytes under the same key.
--
-- KEYS  1 batch hash  2 batches  3 delivered  4 held  5 dead (zsets)  6.. user hashes, then the children's hashes
-- ARGV  1 JSON, all scalars as strings:
--         id, expect (states that may be left), try ('' for any), to (zset 2 to 5, or 'gone'), delay (ms), fields,
--         sole ('1': a user has one sender at a time, see claim.lua),
--         users: per user hash
--           credits: charges that are confirmed {quota, period end, amount, Zion's new value or ''}, or false
--           held: charges of this user in the whole batch {quota, period end, amount}
--           aside: those of them in children that are held
--           figures: {metric, what Zion says that the user has used in all, or ''}
--         children: per hash {id, to, delay, created, fields}
-- Reply done (0|1): 0 when another report was first

local doc = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local found = redis.call('HMGET', KEYS[1], 'state', 'tries', 'created')

local expected = false
for _, state in ipairs(doc.expect) do expected = expected or state == found[1] end
if not expected or (doc.try ~= '' and doc.try ~= found[2]) then return {0} end

-- `q:doubt` is the part of `q:pending` that a held batch may have put into Zion's figure already (see store.lua).
local function doubt(user, charges, sign)
  for _, charge in ipairs(charges) do
    if (redis.call('HGET', user, charge[1] .. ':end') or '0') == charge[2] then
      if redis.call('HINCRBY', user, charge[1] .. ':doubt', sign .. charge[3]) <= 0 then
        redis.call('HDEL', user, charge[1] .. ':doubt')
      end
    end
  end
end

-- `q:zion`, `period end|figure`: what Zion certainly had for this user while nothing of ours was under way.
local function note(user, metric, figure)
  local found = {}
  for q in string.gmatch(redis.call('HGET', user, 'quotas') or '', '%S+') do
    if string.match(q, '[^.]+$') == metric then found[#found + 1] = q end
  end
  for _, q in ipairs(found) do
    local ends = redis.call('HGET', user, q .. ':end') or '0'
    -- With several quotas of one metric nobody says which of them the figure is about.
    if figure ~= '' and #found == 1 and (ends == '0' or now < tonumber(ends)) then
      redis.call('HSET', user, q .. ':zion', ends .. '|' .. figure)
    else
      redis.call('HDEL', user, q .. ':zion')
    end
  end
end

for u, entry in ipairs(doc.users) do
  local user = KEYS[5 + u]
  if found[1] == 'held' then doubt(user, entry.held, '-') end
  if doc.to == '4' then doubt(user, entry.held, '') end
  doubt(user, entry.aside, '')
  for _, charge in ipairs(entry.credits or {}) do
    local quota, period, amount, value = charge[1], charge[2], charge[3], charge[4]
    if (redis.call('HGET', user, quota .. ':end') or '0') == period then
      local pending = redis.call('HINCRBY', user, quota .. ':pending', '-' .. amount)
      if pending < 0 then
        redis.call('HSET', user, quota .. ':pending', 0)
        pending = 0
      end
      local used = redis.call('HINCRBY', user, quota .. ':used', amount)
      -- Zion knows of more than we do: others report there too. What still pends may be in its figure already.
      if value ~= '' and tonumber(value) > used + pending then
        redis.call('HINCRBY', user, quota .. ':used', string.format('%d', tonumber(value) - pending - used))
      end
    end
  end
  for _, figure in ipairs(entry.figures) do note(user, figure[1], figure[2]) end
  if entry.credits then redis.call('HINCRBY', user, 'deliveries', 1) end
  -- A snapshot that was stored while this was under way may hold it already: the next call has it fetched again.
  local has_changed = entry.credits or doc.to == '4' or #entry.aside > 0
  if has_changed and tonumber(redis.call('HGET', user, 'fetched_at') or 0) >= tonumber(found[3] or now) then
    redis.call('HSET', user, 'refresh_due', 1)
  end
  if doc.fields.state == 'doubted' then
    redis.call('HSET', user, 'sending', doc.id .. '|' .. string.format('%d', now + tonumber(doc.delay)))
  elseif doc.sole == '1' and string.match(redis.call('HGET', user, 'sending') or '', '^[^|]+') == doc.id then
    redis.call('HDEL', user, 'sending')
  end
end

for c, child in ipairs(doc.children) do
  local hash = KEYS[5 + #doc.users + c]
  for name, value in pairs(child.fields) do redis.call('HSET', hash, name, value) end
  redis.call('HSET', hash, 'created', child.created)
  redis.call('ZADD', KEYS[tonumber(child.to)], now + tonumber(child.delay), child.id)
end

for place = 2, 5 do redis.call('ZREM', KEYS[place], doc.id) end
if doc.to == 'gone' then
  redis.call('DEL', KEYS[1])
  return {1}
end
for name, value in pairs(doc.fields) do redis.call('HSET', KEYS[1], name, value) end
redis.call('ZADD', KEYS[tonumber(doc.to)], now + tonumber(doc.delay), doc.id)
return {1}
