-- with claims
-- Who is enrolled.  Returns three things for each: name, seconds left, how many it holds.
local reply = {}
local found = call('ZRANGE', OWNERS, 0, -1, 'WITHSCORES')
for at = 1, #found, 2 do
  local owner, count = found[at], 0
  for _, queue in ipairs(call('SMEMBERS', queues_of(owner))) do
    for _, field in ipairs(call('HKEYS', claims_of(queue))) do
      if is_of(field, owner) then count = count + 1 end
    end
  end
  reply[#reply + 1] = owner
  reply[#reply + 1] = string.format('%.17g', tonumber(found[at + 1]) - now)
  reply[#reply + 1] = count
end
return reply
