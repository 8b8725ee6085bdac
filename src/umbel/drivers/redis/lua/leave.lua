-- Free a slot.  ARGV[5] key, ARGV[6] holder.
call('ZREMRANGEBYSCORE', ARGV[5], '-inf', string.format('%.17g', now))
return call('ZREM', ARGV[5], ARGV[6])
