-- Messages on their way into lists, or waiting for their moment.

local function push(waiting, queue, step, raw)
  local list = list_of(queue, step)
  local values = waiting[list]
  if not values then
    values = {}
    waiting[list] = values
  end
  values[#values + 1] = raw
end

-- Put down when the first delayed message of a queue is due.
local function note_due(queue)
  local first = call('ZRANGE', delayed_of(queue), 0, 0, 'WITHSCORES')
  if first[2] then
    call('ZADD', DUE, first[2], queue)
  else
    call('ZREM', DUE, queue)
  end
end

-- Seconds until the first delayed message of all is due, or nothing.
local function until_due()
  local first = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2]
  return first and string.format('%.17g', math.max(tonumber(first) - now, 0))
end

-- The queues in which a message has become due.
local function queues_due()
  return call('ZRANGEBYSCORE', DUE, '-inf', string.format('%.17g', now))
end

-- A delayed message is a member "number step" with the message; the number keeps equals in order.
local function delay(queue, step, due, raw, number)
  call('ZADD', delayed_of(queue), due,
    string.format('%016.0f %s\n', number, step) .. raw)
  call('ZADD', DUE, 'LT', due, queue)
end

-- Put messages in, four arguments each from ARGV[first]: queue, step, moment or nothing, message.
local function publish(first, count, waiting)
  local number
  for at = first, first + 4 * count - 1, 4 do
    local queue, step, due, raw = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    if due == '' or tonumber(due) <= now then
      push(waiting, queue, step, raw)
    else
      number = number and number + 1 or numbers(count)
      delay(queue, step, due, raw, number)
    end
  end
end

local function flush(waiting)
  for list, values in pairs(waiting) do feed('LPUSH', list, values) end
end

-- Let due messages of a queue join its end; those of equal moment in the order they came.
local function promote(queue, due)
  local waiting = {}
  for _, member in ipairs(due) do
    local step, head = string.match(member, '^%d+ (%d+)()\n')
    push(waiting, queue, step, string.sub(member, head + 1))
  end
  flush(waiting)
  feed('ZREM', delayed_of(queue), due)
  note_due(queue)
end
