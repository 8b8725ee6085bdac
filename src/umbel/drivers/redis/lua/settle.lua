-- with claims arrivals results
-- End claims with all that goes with them.
-- From ARGV[5], for each: queue, field or nothing, what there is besides; then
--   q  back to the end of its queue, instead of away
--   d  a dead letter: its text
--   r  a result: as `store`
--   f  follow-ups: how many, then each as `publish`
-- Returns for each whether it was accepted.
local accepted, waiting, follow = {}, {}, {}
local at = 5

local function requeue(queue, field, text)
  local claim = claim_in(field, text)
  claim.crashes = claim.crashes - claim.begun
  note(notes_of(queue), claim, '-')
  call('LPUSH', list_of(queue, claim.step), claim.raw)
end

local function finish(queue, field, again)
  if field == '' then return 1 end
  local claims = claims_of(queue)
  local text = again and call('HGET', claims, field)
  local held = call('HDEL', claims, field)
  if text then requeue(queue, field, text) end
  return held
end

while at <= #ARGV do
  local queue, field, more = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  at = at + 3
  if more == '' then
    accepted[#accepted + 1] = field == '' and 1 or call('HDEL', claims_of(queue), field)
  else
    local held = finish(queue, field, string.find(more, 'q', 1, true))
    accepted[#accepted + 1] = held
    if string.find(more, 'd', 1, true) then
      if held == 1 then
        local number = string.format('%.0f', numbers(1))
        call('ZADD', DEAD, number, number .. '\n' .. ARGV[at])
      end
      at = at + 1
    end
    if string.find(more, 'r', 1, true) then
      if held == 1 then store(at) end
      at = at + 5
    end
    if string.find(more, 'f', 1, true) then
      local count = tonumber(ARGV[at])
      if held == 1 then follow[#follow + 1] = at end
      at = at + 1 + 4 * count
    end
  end
end
for _, place in ipairs(follow) do publish(place + 1, tonumber(ARGV[place]), waiting) end
flush(waiting)
return accepted
