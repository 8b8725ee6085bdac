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
