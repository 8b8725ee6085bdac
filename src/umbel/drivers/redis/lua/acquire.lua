-- Take or renew a lease.  ARGV[5] key, ARGV[6] holder, ARGV[7] seconds.
-- Returns the token, or nothing while another holds it.
local held = call('HMGET', ARGV[5], 'holder', 'token', 'ends')
local token = held[2]
if held[1] and tonumber(held[3]) > now then
  if held[1] ~= ARGV[6] then return false end
else
  token = string.format('%.0f', numbers(1))
end
local seconds = tonumber(ARGV[7])
call('HSET', ARGV[5], 'holder', ARGV[6], 'token', token, 'ends',
  string.format('%.17g', now + seconds))
call('PEXPIRE', ARGV[5], string.format('%.0f', (seconds + ahead) * 1000 + 1))
return token
