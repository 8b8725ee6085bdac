-- Give a lease back.  ARGV[5] key, ARGV[6] holder, ARGV[7] token.
local held = call('HMGET', ARGV[5], 'holder', 'token', 'ends')
if held[1] ~= ARGV[6] or held[2] ~= ARGV[7] or tonumber(held[3]) <= now then return 0 end
return call('DEL', ARGV[5])
