-- What was broadcast.  ARGV[5] channel, ARGV[6] the mark after which, or nothing; ARGV[7] seconds
-- for which it is kept.  Returns the new mark and the payloads.
local key = prefix .. 'umbel:channel:' .. ARGV[5]
local newest = call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]
local mark = math.max(tonumber(newest) or 0, math.floor(now * 1e6) - 1)
if ARGV[6] == '' then return { string.format('%.0f', mark) } end
local after = math.max(tonumber(ARGV[6]), (now - tonumber(ARGV[7])) * 1e6)
local reply = { ARGV[6] }
for _, entry in ipairs(call('ZRANGEBYSCORE', key, '(' .. string.format('%.17g', after), '+inf')) do
  local number, head = string.match(entry, '^(%d+)()\n')
  reply[1] = number
  reply[#reply + 1] = string.sub(entry, head + 1)
end
return reply
