-- POST of a 1 KB custom resource, a new name for every request. RUN: part of the names.
local run = os.getenv("RUN")
local path = "/apis/bench.threeport.dev/v1/namespaces/default/widgets"
local threads = 0
function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end
local n = 0
local note = string.rep("x", 400)
local head = { ["Content-Type"] = "application/json", ["Accept"] = "application/json", ["Authorization"] = "Bearer " .. os.getenv("TOKEN") }
local env = {}
for i = 1, 8 do env[i] = '{"name":"VAR_' .. i .. '","value":"value-number-' .. i .. '"}' end
env = table.concat(env, ",")
function request()
  n = n + 1
  local body = '{"apiVersion":"bench.threeport.dev/v1","kind":"Widget","metadata":{"name":"w-' .. run .. "-" .. id .. "-" .. n ..
    '","labels":{"app":"w","shard":"' .. (n % 10) .. '"}},"spec":{"image":"registry.example.com/team/app:1.2.3","replicas":3,"env":[' ..
    env .. '],"note":"' .. note .. '"}}'
  return wrk.format("POST", path, head, body)
end
