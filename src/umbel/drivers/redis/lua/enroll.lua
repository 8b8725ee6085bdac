-- Make an owner known, or renew its lease.  ARGV[5] owner, ARGV[6] seconds.
call('ZADD', OWNERS, string.format('%.17g', now + tonumber(ARGV[6])), ARGV[5])
