// Times in the visitor's time zone.

const options = { dateStyle: "medium", timeStyle: "short" };

for (const time of document.querySelectorAll("time[data-local]")) {
  time.textContent = new Date(time.dateTime).toLocaleString(document.documentElement.lang, options);
}
