-- with results
-- Stored states.  From ARGV[5], for each the key and the key beside it.
-- Returns three things for each: the value, what stands beside it, whether it expires.
local reply = {}
for at = 5, #ARGV, 2 do
  local value = not expired(ARGV[at]) and call('GET', ARGV[at])
  reply[#reply + 1] = value
  reply[#reply + 1] = value and call('GET', ARGV[at + 1])
  reply[#reply + 1] = value and call('PTTL', ARGV[at]) >= 0 and 1 or 0
end
return reply
