"use strict";

// Swagger UI is dark with this class; the theme `auto` follows the device.
const device = matchMedia("(prefers-color-scheme: dark)");

function showTheme() {
  const { classList, dataset } = document.documentElement;
  classList.toggle("dark-mode", dataset.theme === "dark" || (dataset.theme === "auto" && device.matches));
}

device.addEventListener("change", showTheme);
showTheme();

SwaggerUIBundle({
  url: document.getElementById("swagger-ui").dataset.url,
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
});
