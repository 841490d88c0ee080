-- The first 500 widgets.
local whole
function init()
  whole = text("GET", widgets .. "?limit=500")
end
function request()
  return whole
end
