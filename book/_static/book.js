// Entries of a bibliography stand in an element with the role of a list, but are no items of one
// (sphinx and docutils). A screen reader then announces an empty list.
document.addEventListener("DOMContentLoaded", () => {
  for (const entry of document.querySelectorAll(".citation-list > .citation")) {
    entry.setAttribute("role", "listitem");
  }
  // The theme names its search field "Search", which hides the words and keys that the field shows.
  for (const field of document.querySelectorAll(".search-button-field")) {
    field.removeAttribute("aria-label");
  }
});

// A formula wider than the page scrolls, so the Tab key has to reach it.
window.addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  for (const formula of document.querySelectorAll("mjx-container")) {
    if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0;
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
