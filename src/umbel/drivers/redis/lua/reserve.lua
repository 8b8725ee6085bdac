-- with claims arrivals
-- Pop messages and record the claim.
-- ARGV[5] owner, ARGV[6] limit, ARGV[7] name of this call, ARGV[8…] queues, the preferred first.
-- Returns nothing without a lease, else {the number before the first fence, seconds until the next
-- is due, queue step and count of each part, index and counters of those that were held before,
-- messages}.
local owner, limit, nonce = ARGV[5], tonumber(ARGV[6]), ARGV[7]

for _, queue in ipairs(queues_due()) do
  promote(queue, call('ZRANGEBYSCORE', delayed_of(queue), '-inf', string.format('%.17g', now),
    'LIMIT', 0, CHUNK))
end
if not in_force(owner) then return false end

local order = steps()
local raws, held, shares = {}, {}, {}
local first
local left = limit

local function claim(queue, step, popped)
  local notes, entries = notes_of(queue), {}
  local noted = call('EXISTS', notes) == 1
  first = first or numbers(limit + 1)
  local tail = field_tail(first, step, nonce, owner)
  for at, raw in ipairs(popped) do
    local index = #raws + 1
    raws[index] = raw
    local value = raw
    local text = noted and call('HGET', notes, redis.sha1hex(raw))
    if text then
      call('HDEL', notes, redis.sha1hex(raw))
      local rank, deliveries, crashes = string.match(text, '^(%S+) (%S+) (%S+)')
      local held_before = { fence = first + index, begun = 0, raw = raw }
      held_before.rank = tonumber(rank) or first + index
      held_before.deliveries, held_before.crashes = tonumber(deliveries) + 1, tonumber(crashes)
      value = value_of(held_before)
      for _, fact in ipairs({ index, held_before.deliveries, held_before.crashes }) do
        held[#held + 1] = fact
      end
    elseif string.sub(raw, 1, 1) == MARK then
      value = value_of({ fence = 0, rank = first + index, deliveries = 1, crashes = 0, begun = 0,
        raw = raw })
    end
    entries[2 * at - 1] = index .. tail
    entries[2 * at] = value
  end
  feed('HSET', claims_of(queue), entries, 2)
end

local function take(at, want)
  local queue, got = ARGV[at], 0
  for _, step in ipairs(order) do
    if got == want then break end
    local popped = call('RPOP', list_of(queue, step), want - got)
    if popped then
      claim(queue, step, popped)
      got = got + #popped
      for _, fact in ipairs({ at - 8, step, #popped }) do shares[#shares + 1] = fact end
    end
  end
  if got > 0 then call('SADD', queues_of(owner), queue) end
  left = left - got
  return got == want
end

local fair = math.max(math.floor(limit / (#ARGV - 7)), 1)
local full = {}
for at = 8, #ARGV do
  if left == 0 then break end
  if take(at, math.min(fair, left)) then full[#full + 1] = at end
end
for _, at in ipairs(full) do
  if left == 0 then break end
  take(at, left)
end

if #raws == 0 then
  for at = 8, #ARGV do call('DEL', notes_of(ARGV[at])) end
end
return {
  string.format('%.0f', first or 0),
  until_due() or '',
  shares, held, raws,
}
