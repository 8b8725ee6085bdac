-- with results
-- Delete those of some results that have expired.  ARGV[5] how many at most, then for each the
-- key and the key beside it; returns how many.
local limit, count = tonumber(ARGV[5]), 0
for at = 6, #ARGV, 2 do
  if count < limit and expired(ARGV[at]) then
    count = count + call('UNLINK', ARGV[at])
    call('UNLINK', ARGV[at + 1])
  end
end
return count
