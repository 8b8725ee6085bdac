-- with claims arrivals
-- Have a claimed message wait for its moment.  ARGV[5] queue, ARGV[6] field, ARGV[7] moment.
-- Returns 1 if it waits now, 0 if it is due already or the claim was lost.
local claims = claims_of(ARGV[5])
local text = call('HGET', claims, ARGV[6])
if not text or tonumber(ARGV[7]) <= now then return 0 end
local claim = claim_in(ARGV[6], text)
call('HDEL', claims, ARGV[6])
delay(ARGV[5], claim.step, ARGV[7], claim.raw, numbers(1))
return 1
