-- Hand a payload to everyone who listens.  ARGV[5] channel, ARGV[6] payload, ARGV[7] seconds for
-- which it is kept.
local key = prefix .. 'umbel:channel:' .. ARGV[5]
local kept = tonumber(ARGV[7])
local last = call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]
local number = string.format('%.0f',
  math.max(math.floor(now * 1e6), (tonumber(last) or 0) + 1))
call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.17g', (now - kept) * 1e6))
call('ZADD', key, number, number .. '\n' .. ARGV[6])
call('PEXPIRE', key, string.format('%.0f', (kept + ahead) * 1000))
