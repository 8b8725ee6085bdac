-- with arrivals
-- Put messages in, some of which are not due.  ARGV[5…]: as `publish`.
-- Where only Celery's workers are served, nobody would let them out when they are due: there they
-- go to the list at once, as Celery sends them, and the worker that takes them waits.
local waiting = {}
for at = 5, #ARGV, 4 do
  if ARGV[at + 2] ~= '' and not call('ZSCORE', SERVED, ARGV[at]) then
    local table_of = prefix .. '_kombu.binding.'
    local bound = separator .. ARGV[at]
    for _, exchange in ipairs({ 'celery', ARGV[at] }) do
      for _, member in ipairs(call('SMEMBERS', table_of .. exchange)) do
        if string.sub(member, -#bound) == bound then ARGV[at + 2] = '' end
      end
    end
  end
end
publish(5, (#ARGV - 4) / 4, waiting)
flush(waiting)
