// What the theme gets wrong for readers who hear a page or use it with the keyboard.
window.addEventListener("load", async () => {
  // Entries of a bibliography stand in a list, but are no items of it.
  for (const entry of document.querySelectorAll(".citation-list > .citation")) {
    entry.setAttribute("role", "listitem");
  }
  // Names that differ from the words shown, and pictures that speak beside the name of their button.
  for (const named of document.querySelectorAll(".search-button-field, summary[aria-label]")) {
    named.removeAttribute("aria-label");
  }
  for (const picture of document.querySelectorAll(".theme-switch-button > *")) {
    picture.setAttribute("aria-hidden", "true");
    picture.removeAttribute("title"); // becomes the one of an svg element, now or later
    picture.querySelector("title")?.remove();
  }
  // A displayed formula wider than the page scrolls, so the Tab key has to reach it. Its width changes when
  // its fonts arrive, and the page's when a phone is turned.
  await window.MathJax?.startup?.promise;
  for (const formula of document.querySelectorAll("div.math mjx-container")) {
    const reach = () => {
      if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0;
      else formula.removeAttribute("tabindex");
    };
    const observer = new ResizeObserver(reach);
    for (const box of [formula, ...formula.children]) observer.observe(box);
  }
});

// A table wider than the page scrolls. Its right edge fades as long as there is more.
document.addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll(".text_html, .pst-scrollable-table-container")) {
    const fade = () => {
      const left = box.scrollWidth - box.clientWidth - box.scrollLeft;
      box.classList.toggle("goes-on", left > 1);
    };
    box.addEventListener("scroll", fade);
    new ResizeObserver(fade).observe(box);
  }
});

// Figures to touch (src/taskhead/report/touch.py). The script of Vega-Lite is loaded where there are any.
const here = document.currentScript.src;
document.addEventListener("DOMContentLoaded", () => {
  const figures = document.querySelectorAll(".touch");
  if (!figures.length) return;
  const library = document.createElement("script");
  library.src = new URL("vega.js", here);
  library.onload = () => figures.forEach(draw);
  document.head.append(library);
});

async function draw(figure) {
  const spec = JSON.parse(figure.querySelector("script").textContent);
  const narrow = figure.clientWidth < 600;
  for (const part of [spec, ...(spec.vconcat ?? [])]) {
    if (narrow && part.concat) part.columns = 2;
  }
  const chart = document.createElement("div");
  const said = document.createElement("p");
  said.setAttribute("aria-live", "polite");
  figure.querySelector("p").replaceWith(chart, said);
  const { view } = await vegaEmbed(chart, spec, { renderer: "svg", actions: false });
  chart.querySelector("svg").setAttribute("aria-hidden", "true"); // the sentence says what it shows
  const say = () => {
    const chosen = spec.params.map(({ name }) => view.signal(name));
    said.textContent = spec.usermeta.says[chosen.join("|")];
    spec.params.forEach(({ name, values }, place) => {
      const slider = chart.querySelector(`input[name=${name}]`); // none for a menu
      slider?.setAttribute("aria-valuetext", values[chosen[place]]);
    });
  };
  for (const { name } of spec.params) view.addSignalListener(name, say);
  say();
}
