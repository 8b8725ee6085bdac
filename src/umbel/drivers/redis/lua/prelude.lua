-- Begins every script: the moment, the names of keys, and what several verbs share.
--
-- ARGV[1]  the moment as a test tells it, or nothing: then it is the server's
-- ARGV[2]  the prefix of every key
-- ARGV[3]  what stands between the name of a queue and a priority step
-- ARGV[4]  the steps above 0, highest first, separated by blanks

local call = redis.call
local prefix, separator = ARGV[2], ARGV[3]

local clock = call('TIME')
local real = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local now, ahead = real, 0
if ARGV[1] ~= '' then
  now = tonumber(ARGV[1])
  ahead = math.max(now - real, 0)
end

local NUMBERS = prefix .. 'umbel:numbers'
local OWNERS = prefix .. 'umbel:owners'
local QUEUES = prefix .. 'umbel:queues'
local SERVED = prefix .. 'umbel:served'
local EXCHANGES = prefix .. 'umbel:exchanges'
local DUE = prefix .. 'umbel:due'
local DEAD = prefix .. 'umbel:dead'
local KEPT_FOR = 604800
local CHUNK = 1000

-- Numbers that nobody had before: they grow with the server's clock, so that not even a failover
-- that loses the last writes hands one out twice.
local function numbers(count)
  local last = tonumber(call('GET', NUMBERS) or 0)
  local first = math.max(last + 1, math.floor(real * 1e6))
  call('SET', NUMBERS, string.format('%.0f', first + count - 1), 'EX', 3600)
  return first
end

-- The start of the names of the keys beside a queue. They are in the slot of the queue's list.
local function own(queue)
  if string.find(queue, '{', 1, true) then
    return prefix .. 'umbel::' .. queue
  end
  return prefix .. 'umbel:{' .. queue .. '}'
end

local function claims_of(queue) return own(queue) .. ':claims' end
local function delayed_of(queue) return own(queue) .. ':delayed' end
local function notes_of(queue) return own(queue) .. ':notes' end
local function bindings_of(queue) return own(queue) .. ':bindings' end
local function holders_of(queue) return own(queue) .. ':holders' end
local function temporary_of(owner) return prefix .. 'umbel:temporary:' .. owner end
local function queues_of(owner) return prefix .. 'umbel:owner:' .. owner end

local function list_of(queue, step)
  if step == '0' then return prefix .. queue end
  return prefix .. queue .. separator .. step
end

-- The priority steps, in the order in which they are served.
local function steps()
  local found = {}
  for step in string.gmatch(ARGV[4], '%d+') do found[#found + 1] = step end
  found[#found + 1] = '0'
  return found
end

local function in_force(owner)
  local ends = call('ZSCORE', OWNERS, owner)
  return ends and tonumber(ends) > now
end

-- Give a command many arguments, some at a time: Lua's stack is short.
local function feed(command, key, values, width)
  local size = CHUNK - CHUNK % (width or 1)
  for first = 1, #values, size do
    call(command, key, unpack(values, first, math.min(first + size - 1, #values)))
  end
end

-- A claim is a field "index@first step call owner" of the hash beside the queue, where first and
-- index add up to the fence; its value is the message as it came from the list.  A message that was
-- held before has its counters in front of it, after a byte with which no JSON text begins.
local MARK = '\0'

local function field_tail(first, step, nonce, owner)
  return string.format('@%.0f %s %s %s', first, step, nonce, owner)
end

local function is_of(field, owner)
  return string.match(field, '^%d+@%d+ %d+ %S+ (.*)$') == owner
end

local function value_of(claim)
  local fresh = claim.rank == claim.fence and claim.deliveries == 1 and claim.crashes == 0
  if fresh and claim.begun == 0 and string.sub(claim.raw, 1, 1) ~= MARK then return claim.raw end
  return MARK .. string.format('%.0f %d %d %d\n', claim.rank, claim.deliveries, claim.crashes,
    claim.begun) .. claim.raw
end

local function claim_in(field, value)
  local index, first, step, nonce = string.match(field, '^(%d+)@(%d+) (%d+) (%S+) ')
  local fence = tonumber(first) + tonumber(index)
  local claim = { fence = fence, step = step, call = nonce }
  if string.sub(value, 1, 1) == MARK then
    local rank, deliveries, crashes, begun, head =
      string.match(value, '^.(%d+) (%-?%d+) (%-?%d+) (%d)\n()')
    claim.rank, claim.deliveries = tonumber(rank), tonumber(deliveries)
    claim.crashes, claim.begun = tonumber(crashes), tonumber(begun)
    claim.raw = string.sub(value, head)
  else
    claim.rank, claim.deliveries, claim.crashes, claim.begun, claim.raw = fence, 1, 0, 0, value
  end
  return claim
end

-- What is known of a message beyond its own bytes while it is back in its list.
local function note(notes, claim, rank)
  call('HSET', notes, redis.sha1hex(claim.raw),
    string.format('%s %d %d', rank, claim.deliveries, claim.crashes))
  call('EXPIRE', notes, KEPT_FOR)
end

local function push(waiting, queue, step, raw)
  local list = list_of(queue, step)
  local values = waiting[list]
  if not values then
    values = {}
    waiting[list] = values
  end
  values[#values + 1] = raw
end

local function by_rank(one, other) return one.rank < other.rank end

-- What was given back before and stands in front of those that come back now: it is taken out
-- again, so that all of them can be put in their order.
local function overtaken(list, notes, highest, found)
  while true do
    local raw = call('LINDEX', list, -1)
    local text = raw and call('HGET', notes, redis.sha1hex(raw))
    local rank = text and tonumber(string.match(text, '^%S+'))
    if not rank or rank > highest then return end
    call('RPOP', list)
    found[#found + 1] = { rank = rank, raw = raw }
  end
end

-- Put claims back where they were: at the end that is consumed, oldest first.
local function give_back(queue, returned)
  local notes, lines = notes_of(queue), {}
  for _, claim in ipairs(returned) do
    local line = lines[claim.step] or {}
    lines[claim.step] = line
    line[#line + 1] = claim
    note(notes, claim, string.format('%.0f', claim.rank))
  end
  for step, line in pairs(lines) do
    table.sort(line, by_rank)
    local list = list_of(queue, step)
    overtaken(list, notes, line[#line].rank, line)
    table.sort(line, by_rank)
    local raws = {}
    for at = #line, 1, -1 do raws[#raws + 1] = line[at].raw end
    feed('RPUSH', list, raws)
  end
end

-- End claims of an owner as `judge` says, which gets each and returns whether it goes back.
local function take_back(owner, limit, judge)
  local count, left = 0, false
  for _, queue in ipairs(call('SMEMBERS', queues_of(owner))) do
    local claims, returned = claims_of(queue), {}
    for _, field in ipairs(call('HKEYS', claims)) do
      if is_of(field, owner) then
        local claim = count < limit and claim_in(field, call('HGET', claims, field))
        if claim and judge(claim) then
          call('HDEL', claims, field)
          returned[#returned + 1] = claim
          count = count + 1
        else
          left = true
        end
      end
    end
    if #returned > 0 then give_back(queue, returned) end
  end
  return count, left
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

-- Delete what nobody holds of a queue; returns how many messages.
local function purge(queue)
  local count = call('ZCARD', delayed_of(queue))
  call('UNLINK', delayed_of(queue), notes_of(queue))
  call('ZREM', DUE, queue)
  for _, step in ipairs(steps()) do
    count = count + call('LLEN', list_of(queue, step))
    call('UNLINK', list_of(queue, step))
  end
  return count
end

-- Delete a queue with its bindings and what nobody holds; returns how many messages.
local function drop(queue)
  for _, entry in ipairs(call('SMEMBERS', bindings_of(queue))) do
    local exchange, member = string.match(entry, '^([^\n]*)\n(.*)$')
    local bound = prefix .. '_kombu.binding.' .. exchange
    call('SREM', bound, member)
    if call('EXISTS', bound) == 0 then call('HDEL', EXCHANGES, exchange) end
  end
  call('UNLINK', bindings_of(queue), holders_of(queue))
  call('ZREM', QUEUES, queue)
  call('ZREM', SERVED, queue)
  return purge(queue)
end

-- An owner is gone, and with it the temporary queues that it was the last to have.
local function forget(owner)
  call('ZREM', OWNERS, owner)
  for _, queue in ipairs(call('SMEMBERS', temporary_of(owner))) do
    call('SREM', holders_of(queue), owner)
    if call('EXISTS', holders_of(queue)) == 0 then drop(queue) end
  end
  call('DEL', queues_of(owner), temporary_of(owner))
end

local function uncharged(claim)
  claim.deliveries = claim.deliveries - 1
  claim.crashes = claim.crashes - claim.begun
  return true
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

-- Results. Beside the value, which is Celery's, stands what cannot be read off it.
local function expired(key)
  if ahead == 0 then return false end
  local left = call('PTTL', key)
  return left >= 0 and left <= ahead * 1000
end

local function is_success(key, side)
  if expired(key) then return false end
  local status = call('GET', side)
  if status then return string.find(status, '["SUCCESS",', 1, true) == 1 end
  local start = call('GETRANGE', key, 0, 63)
  return string.find(start, 'status[^%w]+SUCCESS') ~= nil
end

-- Five arguments from ARGV[at]: the key, the key beside it, milliseconds or nothing, the value,
-- what stands beside it or nothing.  A SUCCESS that is there stays.
local function store(at)
  local key, side, expires, value = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if expires ~= '' and ahead > 0 then
    expires = string.format('%.0f', tonumber(expires) + ahead * 1000)
  end
  local stored
  if expires == '' then
    stored = call('SET', key, value, 'NX')
  else
    stored = call('SET', key, value, 'PX', expires, 'NX')
  end
  if not stored then
    if is_success(key, side) then return end
    if expires == '' then
      call('SET', key, value)
    else
      call('SET', key, value, 'PX', expires)
    end
  end
  if ARGV[at + 4] == '' then
    call('DEL', side)
  elseif expires == '' then
    call('SET', side, ARGV[at + 4])
  else
    call('SET', side, ARGV[at + 4], 'PX', expires)
  end
  call('PUBLISH', key, value)
end
