/* Draws the formulas of a page with KaTeX, which is loaded before this script; it travels only with pages that hold some. */
for (const place of document.querySelectorAll(".math")) {
  for (const node of [...place.childNodes]) {
    const found = node.nodeType === Node.TEXT_NODE && node.data.match(/^\s*\\([([])([^]*)\\[)\]]\s*$/);
    if (!found) continue;
    const drawn = document.createElement("span");
    drawn.className = "formula";
    katex.render(found[2], drawn, { displayMode: found[1] === "[", throwOnError: false });
    node.replaceWith(drawn);
  }
}
for (const formula of document.querySelectorAll(".katex-display")) {
  if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0; // what scrolls must be reached by the keyboard
}
