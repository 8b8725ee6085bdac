-- Queues and owners that go.

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
