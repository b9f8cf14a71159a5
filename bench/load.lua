-- wrk's side of a measurement: one request over and over, and only right answers counted.
-- BENCH_BODY, BENCH_AUTH, BENCH_PREFER: what is sent. BENCH_WANT: what a right answer has in its body.
wrk.method = "POST"
wrk.body = os.getenv("BENCH_BODY")
wrk.headers["Content-Type"] = "application/json"
if os.getenv("BENCH_AUTH") then wrk.headers["Authorization"] = os.getenv("BENCH_AUTH") end
if os.getenv("BENCH_PREFER") then wrk.headers["Prefer"] = os.getenv("BENCH_PREFER") end

local want = os.getenv("BENCH_WANT")
local threads = {}
good, wrong, refused = 0, 0, 0
example = ""

function setup(thread) table.insert(threads, thread) end

function response(status, headers, body)
  if status < 300 and string.find(body, '"succeeded"', 1, true) and string.find(body, want, 1, true) then
    good = good + 1
  elseif status == 409 or status == 429 then
    refused = refused + 1
  else
    wrong = wrong + 1
    example = status .. " " .. string.sub(body, 1, 200)
  end
end

function done(summary, latency, requests)
  local sums = { good = 0, wrong = 0, refused = 0 }
  local seen = ""
  for _, thread in ipairs(threads) do
    for name in pairs(sums) do sums[name] = sums[name] + thread:get(name) end
    if thread:get("example") ~= "" then seen = thread:get("example") end
  end
  local broken = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format(
    'BENCH {"good": %d, "wrong": %d, "refused": %d, "broken": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f}\n',
    sums.good, sums.wrong, sums.refused, broken, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
  if seen ~= "" then io.write("EXAMPLE " .. seen .. "\n") end
end
