-- with arrivals
-- Put dead letters back.  From ARGV[5], for each: number, queue, step, message.
-- Returns how many were still there.
local count, waiting = 0, {}
for at = 5, #ARGV, 4 do
  local number = ARGV[at]
  if call('ZREMRANGEBYSCORE', DEAD, number, number) == 1 then
    push(waiting, ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
    count = count + 1
  end
end
flush(waiting)
return count
