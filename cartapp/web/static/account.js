// Times in the visitor's time zone; and other tabs, which refresh after a log-in or log-out.

for (const time of document.querySelectorAll("time[data-local]")) {
  const options = { dateStyle: "medium", timeStyle: "short" };
  time.textContent = new Date(time.dateTime).toLocaleString(document.documentElement.lang, options);
}

const user = document.body.dataset.user ?? "guest";
const before = sessionStorage.getItem("user");
sessionStorage.setItem("user", user);
if (before && before !== user) new BroadcastChannel("cart").postMessage("changed");
