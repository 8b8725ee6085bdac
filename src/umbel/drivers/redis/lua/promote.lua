-- with arrivals
-- Let due messages join the end of their queues, first due first.  ARGV[5] limit.
-- Returns the seconds until the next is due, or nothing.
local limit = tonumber(ARGV[5])
local until_now = string.format('%.17g', now)
local due = {}
for _, queue in ipairs(queues_due()) do
  local found = call('ZRANGEBYSCORE', delayed_of(queue), '-inf', until_now, 'WITHSCORES', 'LIMIT',
    0, limit)
  for at = 1, #found, 2 do
    due[#due + 1] = { queue = queue, rank = tonumber(found[at + 1]), member = found[at] }
  end
end
table.sort(due, function(one, other)
  if one.rank ~= other.rank then return one.rank < other.rank end
  return one.member < other.member
end)
local members = {}
for at = 1, math.min(limit, #due) do
  local line = members[due[at].queue] or {}
  members[due[at].queue] = line
  line[#line + 1] = due[at].member
end
for queue, line in pairs(members) do promote(queue, line) end
return until_due() or false
