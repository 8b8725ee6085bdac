-- Occupy or renew a slot.  ARGV[5] key, ARGV[6] holder, ARGV[7] size, ARGV[8] seconds.
call('ZREMRANGEBYSCORE', ARGV[5], '-inf', string.format('%.17g', now))
if not call('ZSCORE', ARGV[5], ARGV[6]) and call('ZCARD', ARGV[5]) >= tonumber(ARGV[7]) then
  return 0
end
local ends = now + tonumber(ARGV[8])
call('ZADD', ARGV[5], string.format('%.17g', ends), ARGV[6])
local last = tonumber(call('ZRANGE', ARGV[5], -1, -1, 'WITHSCORES')[2])
call('PEXPIRE', ARGV[5], string.format('%.0f', (last - real) * 1000 + 1))
return 1
