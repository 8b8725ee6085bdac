-- Pop messages and record the claim.
-- ARGV[5] owner, ARGV[6] limit, ARGV[7] name of this call, ARGV[8…] queues, the preferred first.
-- Returns nothing without a lease, else {first fence, seconds until the next is due, counts by
-- queue, counters of those that were held before, messages}.
local owner, limit, nonce = ARGV[5], tonumber(ARGV[6]), ARGV[7]
if not in_force(owner) then return false end

local order = steps()
local raws, held, shares = {}, {}, {}
local first, nearest
local left = limit

for at = 8, #ARGV do
  local due = call('ZRANGEBYSCORE', delayed_of(ARGV[at]), '-inf', string.format('%.17g', now),
    'LIMIT', 0, CHUNK)
  if #due > 0 then promote(ARGV[at], due) end
end

local function claim(queue, step, popped)
  local notes, entries = notes_of(queue), {}
  local noted = call('EXISTS', notes) == 1
  first = first or numbers(limit)
  for _, raw in ipairs(popped) do
    local fence = first + #raws
    local rank, deliveries, crashes = fence, 1, 0
    raws[#raws + 1] = raw
    local text = noted and call('HGET', notes, redis.sha1hex(raw))
    if text then
      call('HDEL', notes, redis.sha1hex(raw))
      local old_rank, old_deliveries, old_crashes = string.match(text, '^(%S+) (%S+) (%S+)')
      rank = tonumber(old_rank) or fence
      deliveries, crashes = tonumber(old_deliveries) + 1, tonumber(old_crashes)
      held[#held + 1] = #raws - 1
      held[#held + 1] = deliveries
      held[#held + 1] = crashes
    end
    entries[#entries + 1] = string.format('%.0f %s', fence, owner)
    entries[#entries + 1] = string.format('%.0f %d %d 0 %s %s\n', rank, deliveries, crashes, step,
      nonce) .. raw
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
      shares[#shares + 1] = at - 8
      shares[#shares + 1] = #popped
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
  for at = 8, #ARGV do
    call('DEL', notes_of(ARGV[at]))
    local next_due = call('ZRANGE', delayed_of(ARGV[at]), 0, 0, 'WITHSCORES')[2]
    if next_due and (not nearest or tonumber(next_due) < nearest) then
      nearest = tonumber(next_due)
    end
  end
end
return {
  string.format('%.0f', first or 0),
  nearest and string.format('%.17g', math.max(nearest - now, 0)) or '',
  shares, held, raws,
}
