-- Claims, and what is kept of messages that were given back.

-- A claim is a field "index@first step call owner" of the hash beside the queue, where first and
-- index add up to the fence; its value is the message as it came from the list.  A message that was
-- held before has its counters in front of it, after a byte with which no JSON text begins.
local MARK = '\0'

local function field_tail(first, step, nonce, owner)
  return string.format('@%.0f %s %s %s', first, step, nonce, owner)
end

local function is_of(field, owner)
  return string.match(field, '^%d+@%d+ %d+ %S+ (.*)$') == owner
end

local function value_of(claim)
  local fresh = claim.rank == claim.fence and claim.deliveries == 1 and claim.crashes == 0
  if fresh and claim.begun == 0 and string.sub(claim.raw, 1, 1) ~= MARK then return claim.raw end
  return MARK .. string.format('%.0f %d %d %d\n', claim.rank, claim.deliveries, claim.crashes,
    claim.begun) .. claim.raw
end

local function claim_in(field, value)
  local index, first, step, nonce = string.match(field, '^(%d+)@(%d+) (%d+) (%S+) ')
  local fence = tonumber(first) + tonumber(index)
  local claim = { fence = fence, step = step, call = nonce }
  if string.sub(value, 1, 1) == MARK then
    local rank, deliveries, crashes, begun, head =
      string.match(value, '^.(%d+) (%-?%d+) (%-?%d+) (%d)\n()')
    claim.rank, claim.deliveries = tonumber(rank), tonumber(deliveries)
    claim.crashes, claim.begun = tonumber(crashes), tonumber(begun)
    claim.raw = string.sub(value, head)
  else
    claim.rank, claim.deliveries, claim.crashes, claim.begun, claim.raw = fence, 1, 0, 0, value
  end
  return claim
end

-- What is known of a message beyond its own bytes while it is back in its list.
local function note(notes, claim, rank)
  call('HSET', notes, redis.sha1hex(claim.raw),
    string.format('%s %d %d', rank, claim.deliveries, claim.crashes))
  call('EXPIRE', notes, KEPT_FOR)
end
