-- with claims returning
-- Put claims back at their old places.  ARGV[5] 1 if their process died, else 0; then for each
-- claim queue and field.  Returns how many were held.
local crashed = tonumber(ARGV[5])
local returned, count = {}, 0
for at = 6, #ARGV, 2 do
  local queue, field = ARGV[at], ARGV[at + 1]
  local claims = claims_of(queue)
  local text = call('HGET', claims, field)
  if text then
    call('HDEL', claims, field)
    local claim = claim_in(field, text)
    claim.deliveries = claim.deliveries - 1 + crashed
    claim.crashes = claim.crashes + crashed - claim.begun
    local line = returned[queue] or {}
    returned[queue] = line
    line[#line + 1] = claim
    count = count + 1
  end
end
for queue, line in pairs(returned) do give_back(queue, line) end
return count
