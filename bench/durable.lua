-- A caller who does not wait: hands a prediction in, is answered when its row is safe, then asks for its result with
-- `Prefer: wait`, as Celery's `get()` does, and then hands in the next one. One thread is one caller (wrk -tN -cN).
-- BENCH_BODY, BENCH_AUTH: what is sent. BENCH_WANT: what a right result has in its body.
local ffi = require("ffi")
ffi.cdef [[ struct bench_time { long seconds, nanoseconds; }; int clock_gettime(int clock, struct bench_time *now); ]]
local clock = ffi.new("struct bench_time")

local function now()
  ffi.C.clock_gettime(1, clock)
  return tonumber(clock.seconds) + tonumber(clock.nanoseconds) / 1e9
end

local want = os.getenv("BENCH_WANT")
local headers = { ["Content-Type"] = "application/json", ["Authorization"] = os.getenv("BENCH_AUTH") }
local waiting = { ["Prefer"] = "wait=30", ["Authorization"] = os.getenv("BENCH_AUTH") }
local threads, hand_in = {}, nil
local began = 0
id, good, wrong, example, times = nil, 0, 0, "", ""

function setup(thread) table.insert(threads, thread) end

function init() hand_in = wrk.format("POST", "/v1/predictions", headers, os.getenv("BENCH_BODY")) end

function request()
  if id then return wrk.format("GET", "/v1/predictions/" .. id, waiting) end
  began = now()
  return hand_in
end

function response(status, _, body)
  if status == 201 and not id then
    id = string.match(body, '"id": ?"([a-z0-9]+)"')
  elseif status == 200 and id and string.find(body, '"succeeded"', 1, true) and string.find(body, want, 1, true) then
    good, id = good + 1, nil
    times = times .. string.format("%.3f ", (now() - began) * 1e3)
  else
    wrong, id = wrong + 1, nil
    example = status .. " " .. string.sub(body, 1, 200)
  end
end

function done(summary)
  local sums = { good = 0, wrong = 0 }
  local seen, all = "", {}
  for _, thread in ipairs(threads) do
    for name in pairs(sums) do sums[name] = sums[name] + thread:get(name) end
    if thread:get("example") ~= "" then seen = thread:get("example") end
    for one in string.gmatch(thread:get("times"), "%S+") do table.insert(all, tonumber(one)) end
  end
  table.sort(all)
  local broken = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format(
    'BENCH {"good": %d, "wrong": %d, "refused": 0, "broken": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f}\n',
    sums.good, sums.wrong, broken, summary.duration / 1e6,
    all[math.ceil(#all * 0.5)] or 0, all[math.ceil(#all * 0.99)] or 0))
  if seen ~= "" then io.write("EXAMPLE " .. seen .. "\n") end
end
