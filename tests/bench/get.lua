-- One of the widgets that load.py made.
local requests, n = {}, 0
function init()
  for i = 1, 500 do requests[i] = text("GET", widgets .. "/" .. name("seeded", 0, i)) end
end
function request()
  n = n % 500 + 1
  return requests[n]
end
