-- with claims
-- List messages of a queue: held ones, ready ones, delayed ones.
-- ARGV[5] queue, ARGV[6] offset, ARGV[7] limit.
-- Returns four things for each: state, owner, deliveries, message.
local queue, skip, left = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local reply = {}

local function add(state, owner, deliveries, raw)
  for _, value in ipairs({ state, owner, deliveries, raw }) do reply[#reply + 1] = value end
  left = left - 1
end

local claimed = {}
local entries = call('HGETALL', claims_of(queue))
for at = 1, #entries, 2 do
  local claim = claim_in(entries[at], entries[at + 1])
  claim.owner = string.match(entries[at], '^%S+ %S+ %S+ (.*)$')
  claimed[#claimed + 1] = claim
end
table.sort(claimed, function(one, other)
  if one.step ~= other.step then return tonumber(one.step) > tonumber(other.step) end
  return one.rank < other.rank
end)
for at = skip + 1, math.min(skip + left, #claimed) do
  local claim = claimed[at]
  add('claimed', claim.owner, claim.deliveries, claim.raw)
end
skip = math.max(skip - #claimed, 0)

for _, step in ipairs(steps()) do
  local list = list_of(queue, step)
  local length = call('LLEN', list)
  if left > 0 and skip < length then
    local found = call('LRANGE', list, -skip - left, -skip - 1)
    for at = #found, 1, -1 do
      local text = call('HGET', notes_of(queue), redis.sha1hex(found[at]))
      add('ready', '', text and tonumber(string.match(text, '^%S+ (%S+)')) or 0, found[at])
    end
  end
  skip = math.max(skip - length, 0)
end

if left > 0 then
  for _, member in ipairs(call('ZRANGE', delayed_of(queue), skip, skip + left - 1)) do
    add('delayed', '', 0, string.sub(member, string.match(member, '^%d+ %d+()\n') + 1))
  end
end
return reply
