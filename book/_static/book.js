// Entries of a bibliography stand in an element with the role of a list, but are no items of one
// (sphinx and docutils). A screen reader then announces an empty list.
document.addEventListener("DOMContentLoaded", () => {
  for (const entry of document.querySelectorAll(".citation-list > .citation")) {
    entry.setAttribute("role", "listitem");
  }
});
