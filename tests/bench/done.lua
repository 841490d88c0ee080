-- Appended to each script: one line for the caller, and a failure where an answer was not 2xx.
function done(summary, latency, requests)
  local seconds = summary.duration / 1e6
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format("FIGURE %.0f %.2f %.2f %d\n", summary.requests / seconds, latency:percentile(50) / 1000, latency:percentile(99) / 1000, bad))
end
