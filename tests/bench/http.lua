-- What every script needs. Requests are put together once where they can be, so that the client's own work is small beside the servers'.
local token = os.getenv("TOKEN")
widgets = "/apis/bench.threeport.dev/v1/namespaces/default/widgets"

function text(method, path, body, media)
  local head = { ["Accept"] = "application/json", ["Authorization"] = "Bearer " .. token }
  if media then head["Content-Type"] = media end
  return wrk.format(method, path, head, body)
end

-- A widget of 1 KB. Names are of one length, so that every request is.
local env = {}
for i = 1, 8 do env[i] = '{"name":"VAR_' .. i .. '","value":"value-number-' .. i .. '"}' end
function widget(name)
  return '{"apiVersion":"bench.threeport.dev/v1","kind":"Widget","metadata":{"name":"' .. name .. '","labels":{"app":"w","shard":"7"}},' ..
    '"spec":{"image":"registry.example.com/team/app:1.2.3","replicas":3,"env":[' .. table.concat(env, ",") .. '],"note":"' .. string.rep("x", 400) .. '"}}'
end

-- The request of one widget, in the two parts around its name.
function around()
  local place = string.rep("N", #name("", 0, 0))
  local whole = text("POST", widgets, widget(place), "application/json")
  local first, last = whole:find(place, 1, true)
  return whole:sub(1, first - 1), whole:sub(last + 1)
end

-- Always of one length.
function name(run, thread, n)
  return string.format("w-%6s-%d-%010d", run, thread, n)
end

local threads = 0
function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end
