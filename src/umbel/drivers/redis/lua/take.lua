-- Take tokens, by the generic cell rate algorithm: what is kept is the moment at which the bucket
-- is full again.  ARGV[5] key, ARGV[6] rate, ARGV[7] burst, ARGV[8] cost.
-- Returns the seconds until there are enough, 0 if they are taken.
local rate, burst, cost = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local depth = burst / rate
local full = math.max(tonumber(call('GET', ARGV[5]) or 0), now)
local full_at = math.min(full, now + depth) + cost / rate
local seconds = full_at - depth - now
-- Tokens that are there but for the last bits of a moment are there.
if seconds > 1e-6 then return string.format('%.17g', seconds) end
call('SET', ARGV[5], string.format('%.17g', full_at), 'PX',
  string.format('%.0f', math.min(math.ceil((full_at - real) * 1000) + 1, 1e14)))
return '0'
