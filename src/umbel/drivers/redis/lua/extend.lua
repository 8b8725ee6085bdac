-- Renew leases that are in force.  ARGV[5] seconds, ARGV[6…] owners; returns the renewed ones.
local ends = string.format('%.17g', now + tonumber(ARGV[5]))
local renewed = {}
for at = 6, #ARGV do
  if in_force(ARGV[at]) then
    call('ZADD', OWNERS, ends, ARGV[at])
    renewed[#renewed + 1] = ARGV[at]
  end
end
return renewed
