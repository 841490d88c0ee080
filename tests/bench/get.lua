-- GET of the objects that create.lua made in the same RUN. wrk throws its first request away, so number 1 was never made.
local run = os.getenv("RUN")
local n = 0
local head = { ["Accept"] = "application/json", ["Authorization"] = "Bearer " .. os.getenv("TOKEN") }
function request()
  n = n + 1
  return wrk.format("GET", "/apis/bench.threeport.dev/v1/namespaces/default/widgets/w-" .. run .. "-0-" .. (2 + n % 300), head)
end
