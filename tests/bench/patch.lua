-- A merge patch that changes one of the widgets that seed.lua made, another one for each connection as far as it goes.
local n = 0
function request()
  n = n + 1
  return text("PATCH", widgets .. "/" .. name("seeded", id, 2 + n % 2000), '{"spec":{"replicas":' .. (n % 400) .. '}}', "application/merge-patch+json")
end
