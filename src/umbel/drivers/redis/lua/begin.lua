-- with claims
-- Count a start that has not ended yet.  ARGV[5] queue, ARGV[6] field.
local claims = claims_of(ARGV[5])
local text = call('HGET', claims, ARGV[6])
if not text then return 0 end
local claim = claim_in(ARGV[6], text)
if claim.begun == 0 then
  claim.begun, claim.crashes = 1, claim.crashes + 1
  call('HSET', claims, ARGV[6], value_of(claim))
end
return 1
