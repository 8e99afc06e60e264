-- What wrk sends: each line of a file is one order of one user, "token key body", sent once.
-- wrk -t1 ... -s orders.lua URL -- FILE SECONDS: sends until the seconds are over or the file is at its end; then it
-- waits for what is in flight, says so on stderr, and rests. So every order that was sent is counted. wrk's own duration
-- must be longer; whoever started it ends it by SIGINT when it has said that it is done.
local ffi = require("ffi")
ffi.cdef([[
  typedef struct { long s; long ns; } qc_time;
  int clock_gettime(int clock, qc_time *now);
]])
local MONOTONIC, BUCKET_US = 1, 200000
local clock = ffi.new("qc_time")
local function now_us()
  ffi.C.clock_gettime(MONOTONIC, clock)
  return tonumber(clock.s) * 1e6 + tonumber(clock.ns) / 1e3
end

local only
function setup(thread)
  only = thread
end

-- What is counted is global: `done` reads it from the thread.
sent, answered, first_us, last_us = 0, 0, 0, 0
statuses, buckets = {}, {}
local orders, next_at, until_us, seconds, ended, head, tried = "", 1, 0, 0, false, "", false

function init(args)
  -- All of it, before the first request: a read that waits for the disk would keep every answer from being counted.
  local file = assert(io.open(args[1]))
  orders = file:read("*a")
  file:close()
  seconds = tonumber(args[2])
  head = "POST /v1/orders HTTP/1.1\r\nHost: " .. wrk.host .. "\r\nContent-Type: application/json\r\n"
end

function request()
  if not tried then
    -- wrk asks for one request that it only looks at, and never sends.
    tried = true
    return head .. "\r\n"
  end
  local now = now_us()
  if sent == 0 then
    first_us = now
    until_us = now + seconds * 1e6
  end
  local token, key, body, behind
  if now < until_us and not ended then
    token, key, body, behind = orders:match("^(%S+) (%S+) ([^\n]*)\n()", next_at)
  end
  if not token then
    -- wrk sends nothing for an empty request: the connection rests.
    ended = true
    return ""
  end
  sent, next_at = sent + 1, behind
  return head .. "Authorization: Bearer " .. token .. "\r\nIdempotency-Key: " .. key
    .. "\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end

function response(status, _, body)
  -- Of the refusals only this one is an answer; any other is an error, under a status that there is not.
  if status == 409 and not body:find("out-of-stock", 1, true) then status = 0 end
  answered = answered + 1
  last_us = now_us()
  statuses[status] = (statuses[status] or 0) + 1
  if status == 201 or status == 409 then
    local bucket = math.floor((last_us - first_us) / BUCKET_US)
    buckets[bucket] = (buckets[bucket] or 0) + 1
  end
  if answered == sent and (ended or last_us >= until_us) then
    io.stderr:write("done\n")
    wrk.thread:stop()
  end
end

function done(summary, latency)
  print(string.format("orders sent %d answered %d first_us %.0f last_us %.0f", only:get("sent"), only:get("answered"),
    only:get("first_us"), only:get("last_us")))
  for status, count in pairs(only:get("statuses")) do print("status", status, count) end
  for bucket, count in pairs(only:get("buckets")) do print("bucket", bucket, count) end
  local errors = summary.errors
  print("errors", errors.connect, errors.read, errors.write, errors.timeout)
  for _, percent in ipairs({ 1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99 }) do
    print("latency_us", percent, latency:percentile(percent))
  end
  print("latency_us", 100, latency.max)
end
