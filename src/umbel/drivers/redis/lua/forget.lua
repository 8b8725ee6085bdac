-- with results
-- Delete stored states.  From ARGV[5], for each the key and the key beside it; returns how many
-- states there were.
local count = 0
for at = 5, #ARGV, 2 do
  local lapsed = expired(ARGV[at])
  local deleted = call('UNLINK', ARGV[at])
  if not lapsed then count = count + deleted end
  call('UNLINK', ARGV[at + 1])
end
return count
