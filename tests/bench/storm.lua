-- A merge patch that changes the next of the notes that storm.py made in the namespace `storm`; each of wrk's two threads has half of them.
local n, count = 0, tonumber(os.getenv("NOTES")) / 2
function request()
  n = n + 1
  local path = "/apis/test.threeport.dev/v1/namespaces/storm/notes/note-" .. (id + 2 * (n % count))
  return text("PATCH", path, '{"spec":{"text":"' .. n .. '"}}', "application/merge-patch+json")
end
