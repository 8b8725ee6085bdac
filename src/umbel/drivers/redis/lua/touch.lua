-- Remember queues.  ARGV[5] 1 if they are consumed here, ARGV[6…] their names.
local score = string.format('%.17g', now)
for at = 6, #ARGV do
  call('ZADD', QUEUES, score, ARGV[at])
  if ARGV[5] == '1' then call('ZADD', SERVED, score, ARGV[at]) end
end
