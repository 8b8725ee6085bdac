-- with arrivals
-- Delete messages that wait.  ARGV[5] queue, then for each its step, or nothing if it is delayed,
-- and the entry as it was read.  Returns how many were still there.
local queue, count = ARGV[5], 0
for at = 6, #ARGV, 2 do
  local step, entry = ARGV[at], ARGV[at + 1]
  if step == '' then
    count = count + call('ZREM', delayed_of(queue), entry)
  else
    count = count + call('LREM', list_of(queue, step), 1, entry)
    call('HDEL', notes_of(queue), redis.sha1hex(entry))
  end
end
note_due(queue)
return count
