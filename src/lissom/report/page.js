"use strict";
// Without this script everything is still readable; it adds hints, linked marks and copying.
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function light(number, on) {
  for (const part of all(`[data-row="${number}"]`)) part.classList.toggle("lit", on);
}

function hint(point, on) {
  const plot = point.closest(".plot");
  const tip = plot.querySelector(".tip");
  light(point.dataset.row, on);
  tip.hidden = !on;
  if (!on) return;
  tip.textContent = point.dataset.tip;
  const box = plot.getBoundingClientRect();
  const dot = point.querySelector(".dot").getBoundingClientRect();
  const left = Math.min(dot.right - box.left + 8, box.width - tip.offsetWidth);
  const above = dot.top - box.top - tip.offsetHeight - 8;
  tip.style.left = `${Math.max(0, left)}px`;
  tip.style.top = `${above >= 0 ? above : dot.bottom - box.top + 8}px`;
}

for (const point of all("a[data-tip]")) {
  point.addEventListener("mouseenter", () => hint(point, true));
  point.addEventListener("mouseleave", () => hint(point, false));
  point.addEventListener("focus", () => hint(point, true));
  point.addEventListener("blur", () => hint(point, false));
}
for (const row of all("tr[data-row]")) {
  row.addEventListener("mouseenter", () => light(row.dataset.row, true));
  row.addEventListener("mouseleave", () => light(row.dataset.row, false));
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") for (const tip of all(".tip")) tip.hidden = true;
});

// Light or dark: as the system has it until the reader presses the button. A page opened from a
// folder may not be allowed to remember.
const theme = document.getElementById("theme");
const root = document.documentElement;
function remembered(value) {
  try {
    if (value) localStorage.setItem("lissom-theme", value);
    return localStorage.getItem("lissom-theme");
  } catch {
    return null;
  }
}
function isDark() {
  const chosen = root.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
function show() {
  theme.setAttribute("aria-pressed", String(isDark()));
}
if (["light", "dark"].includes(remembered())) root.dataset.theme = remembered();
theme.hidden = false;
show();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
theme.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  remembered(root.dataset.theme);
  show();
});

const button = document.getElementById("copy");
if (button) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = document.getElementById("snippet");
    let done = true;
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      const range = document.createRange();
      range.selectNodeContents(code);
      const selection = getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      done = document.execCommand("copy");
    }
    button.textContent = done ? "Copied" : "Press Ctrl+C";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}
