-- Set a unique key.  ARGV[5] key, ARGV[6] holder, ARGV[7] seconds.
-- Returns nothing if the holder has it now, else who does.
local held = call('HMGET', ARGV[5], 'holder', 'ends')
if held[1] and held[1] ~= ARGV[6] and tonumber(held[2]) > now then return held[1] end
local seconds = tonumber(ARGV[7])
call('HSET', ARGV[5], 'holder', ARGV[6], 'ends', string.format('%.17g', now + seconds))
call('PEXPIRE', ARGV[5], string.format('%.0f', (seconds + ahead) * 1000 + 1))
return false
