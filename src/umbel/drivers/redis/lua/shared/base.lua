-- Begins every script: the moment, and the names of keys.
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
