-- How queues stand.  ARGV[5…] their names; all that are known if there is none.
-- Returns the moment, then for each: name, ready, delayed, claimed, the messages that are next.
local names = {}
for at = 5, #ARGV do names[#names + 1] = ARGV[at] end
if #names == 0 then names = call('ZRANGE', QUEUES, 0, -1) end
local reply = { string.format('%.17g', now) }
for _, queue in ipairs(names) do
  local ready, tails = 0, {}
  for _, step in ipairs(steps()) do
    local length = call('LLEN', list_of(queue, step))
    ready = ready + length
    if length > 0 then tails[#tails + 1] = call('LINDEX', list_of(queue, step), -1) end
  end
  reply[#reply + 1] = { queue, ready, call('ZCARD', delayed_of(queue)),
    call('HLEN', claims_of(queue)), tails }
end
return reply
