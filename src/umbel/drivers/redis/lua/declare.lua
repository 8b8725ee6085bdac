-- Make queues known.  ARGV[5] owner or nothing, then for each binding: queue, 1 if it goes with
-- the owner, exchange or nothing, its type, the entry of its table.
local owner = ARGV[5]
for at = 6, #ARGV, 5 do
  local queue, exchange = ARGV[at], ARGV[at + 2]
  call('ZADD', QUEUES, string.format('%.17g', now), queue)
  if owner ~= '' and ARGV[at + 1] == '1' then
    call('SADD', holders_of(queue), owner)
    call('SADD', temporary_of(owner), queue)
  end
  if exchange ~= '' then
    call('SADD', prefix .. '_kombu.binding.' .. exchange, ARGV[at + 4])
    call('SADD', bindings_of(queue), exchange .. '\n' .. ARGV[at + 4])
    call('HSET', EXCHANGES, exchange, ARGV[at + 3])
  end
end
