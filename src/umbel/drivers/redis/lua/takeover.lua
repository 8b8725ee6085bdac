-- with claims returning leaving
-- Move every claim of an owner to another.  ARGV[5] owner, ARGV[6] by whom, ARGV[7] name of this
-- call.  Returns nothing without a lease, else five things for each: queue, field, deliveries,
-- crashes, message.
local owner, by, nonce = ARGV[5], ARGV[6], ARGV[7]
if not in_force(by) then return false end
local moved = {}
for _, queue in ipairs(call('SMEMBERS', queues_of(owner))) do
  local claims = claims_of(queue)
  for _, field in ipairs(call('HKEYS', claims)) do
    if is_of(field, owner) then
      local claim = claim_in(field, call('HGET', claims, field))
      call('HDEL', claims, field)
      claim.queue = queue
      moved[#moved + 1] = claim
    end
  end
end
forget(owner)
table.sort(moved, by_rank)
local first = #moved > 0 and numbers(#moved + 1)
local reply = {}
for index, claim in ipairs(moved) do
  claim.fence = first + index
  local field = index .. field_tail(first, claim.step, nonce, by)
  call('HSET', claims_of(claim.queue), field, value_of(claim))
  call('SADD', queues_of(by), claim.queue)
  for _, value in ipairs({ claim.queue, field, claim.deliveries, claim.crashes - claim.begun,
    claim.raw }) do
    reply[#reply + 1] = value
  end
end
return reply
