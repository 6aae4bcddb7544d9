(window, document) => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const visible = (element) => element.checkVisibility() && element.getClientRects().length > 0;
  const rgb = (words) => (words.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const solid = (words) => { const [, , , alpha = 1] = rgb(words); return alpha > 0.9; };
  const light = (color) => rgb(color).slice(0, 3)
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const ratio = (one, other) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = window.getComputedStyle(at).backgroundColor;
      if (solid(color)) return color;
    }
    return "rgb(255, 255, 255)";
  };
  function contrast() {
    let worst = { ratio: 99, text: "" };
    const walker = document.createTreeWalker(document.body, window.NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const element = walker.currentNode.parentElement;
      if (!walker.currentNode.data.trim() || !visible(element)) continue;
      if (element.closest("script, style, .skip")) continue;
      const style = window.getComputedStyle(element);
      let behind = ground(element);
      // A number inside of a mark stands on the mark.
      if (element.classList.contains("figure"))
        behind = window.getComputedStyle(element.parentElement.querySelector(".dot")).fill;
      const color = element instanceof window.SVGElement ? style.fill : style.color;
      const found = ratio(color, behind);
      if (found < worst.ratio)
        worst = { ratio: found, text: walker.currentNode.data.trim().slice(0, 60), color, behind };
    }
    return worst;
  }
  const root = document.documentElement;
  const spill = () => root.scrollWidth - root.clientWidth;
  // What sticks out of the window without a box of its own to scroll in.
  const outside = () => all("main *").filter((element) => {
    if (!visible(element) || element.closest(".scroll, pre, svg, .unseen")) return false;
    return element.getBoundingClientRect().right > root.clientWidth + 1;
  }).map((element) => element.outerHTML.slice(0, 80));

  const theme = document.getElementById("theme");
  const found = { spill: spill(), outside: outside(), fired: window.parent.fired };
  found.before = { dark: theme.getAttribute("aria-pressed"), contrast: contrast(),
    ground: window.getComputedStyle(document.body).backgroundColor };
  theme.click();
  found.after = { dark: theme.getAttribute("aria-pressed"), contrast: contrast(),
    ground: window.getComputedStyle(document.body).backgroundColor };
  found.fetched = window.performance.getEntriesByType("resource").length;

  const marks = all("a[data-tip]").filter(visible);
  found.marks = marks.map((mark) => mark.dataset.row);
  found.tips = marks.map((mark) => {
    mark.focus();
    const tip = mark.closest(".plot").querySelector(".tip");
    const box = tip.getBoundingClientRect();
    return { text: tip.textContent, shown: visible(tip), focused: document.activeElement === mark,
      lit: document.querySelector(`tr[data-row="${mark.dataset.row}"]`).classList.contains("lit"),
      inside: box.left >= -1 && box.right <= root.clientWidth + 1 };
  });
  document.dispatchEvent(new window.KeyboardEvent("keydown", { key: "Escape" }));
  found.escaped = all(".tip").every((tip) => !visible(tip));
  found.plots = all(".tabs input").map((input) => {
    input.click();
    return all(".plot").filter(visible).map((plot) => plot.className);
  });
  // What scrolls or acts must be reached by the keyboard.
  found.unreached = all(".scroll, pre, button, a, input, summary")
    .filter((element) => visible(element) && element.tabIndex < 0).length;
  found.scrolls = all(".scroll").map((box) => box.scrollWidth - box.clientWidth);
  return found;
}
