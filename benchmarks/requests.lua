-- wrk script: send the requests of a file, separated by NUL bytes, in a loop, and print the figures for wrk.py.
local requests, turn = {}, 0

function init(args)
  for request in io.open(args[1], "rb"):read("*a"):gmatch("[^%z]+") do
    requests[#requests + 1] = request
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local failed = summary.errors
  print(string.format(
    "RESULT %d %d %d %.0f %.0f", summary.requests, summary.duration,
    failed.connect + failed.read + failed.write + failed.timeout + failed.status,
    latency:percentile(50), latency:percentile(99)
  ))
end
