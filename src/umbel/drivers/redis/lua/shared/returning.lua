-- Giving back what was claimed.  Needs claims.

local function by_rank(one, other) return one.rank < other.rank end

-- What was given back before and stands in front of those that come back now: it is taken out
-- again, so that all of them can be put in their order.
local function overtaken(list, notes, highest, found)
  while true do
    local raw = call('LINDEX', list, -1)
    local text = raw and call('HGET', notes, redis.sha1hex(raw))
    local rank = text and tonumber(string.match(text, '^%S+'))
    if not rank or rank > highest then return end
    call('RPOP', list)
    found[#found + 1] = { rank = rank, raw = raw }
  end
end

-- Put claims back where they were: at the end that is consumed, oldest first.
local function give_back(queue, returned)
  local notes, lines = notes_of(queue), {}
  for _, claim in ipairs(returned) do
    local line = lines[claim.step] or {}
    lines[claim.step] = line
    line[#line + 1] = claim
    note(notes, claim, string.format('%.0f', claim.rank))
  end
  for step, line in pairs(lines) do
    table.sort(line, by_rank)
    local list = list_of(queue, step)
    overtaken(list, notes, line[#line].rank, line)
    table.sort(line, by_rank)
    local raws = {}
    for at = #line, 1, -1 do raws[#raws + 1] = line[at].raw end
    feed('RPUSH', list, raws)
  end
end

-- End claims of an owner as `judge` says, which gets each and returns whether it goes back.
local function take_back(owner, limit, judge)
  local count, left = 0, false
  for _, queue in ipairs(call('SMEMBERS', queues_of(owner))) do
    local claims, returned = claims_of(queue), {}
    for _, field in ipairs(call('HKEYS', claims)) do
      if is_of(field, owner) then
        local claim = count < limit and claim_in(field, call('HGET', claims, field))
        if claim and judge(claim) then
          call('HDEL', claims, field)
          returned[#returned + 1] = claim
          count = count + 1
        else
          left = true
        end
      end
    end
    if #returned > 0 then give_back(queue, returned) end
  end
  return count, left
end

local function uncharged(claim)
  claim.deliveries = claim.deliveries - 1
  claim.crashes = claim.crashes - claim.begun
  return true
end
