-- Sends the requests of a file, each once, and prints one line of JSON with what was measured.
--
--     wrk -t1 -c16 -d5s -s benchmarks/wrk.lua http://127.0.0.1:8000/ -- FILE
--
-- The file has, for each request, a line with its length in bytes and then its bytes (benchmarks/load.py).

local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

function init(args)
   requests = {}
   position = 0
   exhausted = false
   local file = assert(io.open(args[1], "rb"))
   while true do
      local length = file:read("*l")
      if not length then break end
      requests[#requests + 1] = file:read(tonumber(length))
   end
   file:close()
end

function request()
   if position < #requests then
      position = position + 1
   else
      exhausted = true
   end
   return requests[position]
end

function done(summary, latency, _)
   local exhausted = false
   for _, thread in ipairs(threads) do
      exhausted = exhausted or thread:get("exhausted")
   end
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "seconds": %.6f, "p50": %.3f, "p99": %.3f, "failed": %d, "is_exhausted": %s}\n',
      summary.requests - errors.status, summary.duration / 1e6,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
      errors.status + errors.connect + errors.read + errors.write + errors.timeout,
      tostring(exhausted)
   ))
end
