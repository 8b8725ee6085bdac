-- Move every claim of an owner to another.  ARGV[5] owner, ARGV[6] by whom, ARGV[7] name of this
-- call.  Returns nothing without a lease, else five things for each: queue, fence, deliveries,
-- crashes, message.
local owner, by, nonce = ARGV[5], ARGV[6], ARGV[7]
if not in_force(by) then return false end
local moved = {}
for _, queue in ipairs(call('SMEMBERS', queues_of(owner))) do
  local claims = claims_of(queue)
  for _, field in ipairs(call('HKEYS', claims)) do
    if string.match(field, '^%d+ (.*)$') == owner then
      local claim = unpacked(call('HGET', claims, field))
      call('HDEL', claims, field)
      claim.queue, claim.call = queue, nonce
      moved[#moved + 1] = claim
    end
  end
end
forget(owner)
table.sort(moved, by_rank)
local first = #moved > 0 and numbers(#moved)
local reply = {}
for index, claim in ipairs(moved) do
  local fence = string.format('%.0f', first + index - 1)
  call('HSET', claims_of(claim.queue), fence .. ' ' .. by, packed(claim))
  call('SADD', queues_of(by), claim.queue)
  for _, value in ipairs({ claim.queue, fence, claim.deliveries, claim.crashes - claim.begun,
    claim.raw }) do
    reply[#reply + 1] = value
  end
end
return reply
