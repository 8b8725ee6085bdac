-- with claims returning leaving
-- Give back what owners with an ended lease hold.  ARGV[5] limit, ARGV[6] seconds after which the
-- name of an empty queue is forgotten.  Returns how many messages.
local left = tonumber(ARGV[5])
local total = 0
for _, owner in ipairs(call('ZRANGEBYSCORE', OWNERS, '-inf', string.format('%.17g', now))) do
  local count, more = take_back(owner, left, function() return true end)
  total, left = total + count, left - count
  if not more then forget(owner) end
end
local stale = string.format('%.17g', now - tonumber(ARGV[6]))
for _, queue in ipairs(call('ZRANGEBYSCORE', QUEUES, '-inf', stale, 'LIMIT', 0, CHUNK)) do
  local held = call('EXISTS', delayed_of(queue), claims_of(queue))
  for _, step in ipairs(steps()) do held = held + call('EXISTS', list_of(queue, step)) end
  if held == 0 then call('ZREM', QUEUES, queue) end
end
call('ZREMRANGEBYSCORE', SERVED, '-inf', stale)
return total
