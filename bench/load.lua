-- Tells wrk to pause between the requests of a connection, for PAUSE_MS on average, and to report as
-- one line of JSON. Pauses are random, so that connections don't ask all at once.
local pause = tonumber(os.getenv("PAUSE_MS") or "0")

if pause > 0 then
  local seeded = false
  function delay()
    if not seeded then
      math.randomseed(os.time())
      seeded = true
    end
    return math.random(0, math.floor(2 * pause))
  end
end

wrk.method = os.getenv("METHOD") or "GET"
wrk.body = os.getenv("BODY")
if wrk.body then wrk.headers["Content-Type"] = "application/json" end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"failed":%d,"broken":%d,"p50":%.3f,"p99":%.3f,"longest":%.3f}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
