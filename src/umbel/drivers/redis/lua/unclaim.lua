-- Free a unique key.  ARGV[5] key, ARGV[6] holder.
local held = call('HMGET', ARGV[5], 'holder', 'ends')
if held[1] ~= ARGV[6] or tonumber(held[2]) <= now then return 0 end
return call('DEL', ARGV[5])
