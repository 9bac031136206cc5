-- wrk script: asks for tokens. BASIC is the header's value, FORM the body; REFRESH names a file with one refresh token a
-- line: each thread (of one connection) takes one and goes on with the token of each answer.
local waiting = {}
if os.getenv("REFRESH") then
  for line in io.lines(os.getenv("REFRESH")) do table.insert(waiting, line) end
end
local threads = {}

function setup(thread)
  thread:set("token", table.remove(waiting) or "")
  table.insert(threads, thread)
end

function init()
  failed = 0
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
  if os.getenv("BASIC") then wrk.headers["Authorization"] = "Basic " .. os.getenv("BASIC") end
  wrk.body = os.getenv("FORM")
end

if os.getenv("REFRESH") then
  function request()
    return wrk.format(nil, nil, nil, os.getenv("FORM") .. "&refresh_token=" .. token)
  end
end

function response(status, _, body)
  if status ~= 200 then failed = failed + 1 end
  token = string.match(body, '"refresh_token": ?"([^"]+)"') or token
end

function done(summary, latency)
  local bad, last = 0, {}
  for _, thread in ipairs(threads) do
    bad = bad + thread:get("failed")
    table.insert(last, thread:get("token") or "")
  end
  io.write(string.format('\n@{"requests": %d, "microseconds": %d, "failed": %d, "p50": %d, "p99": %d, "last": "%s"}\n',
    summary.requests, summary.duration, bad, latency:percentile(50), latency:percentile(99), table.concat(last, " ")))
end
