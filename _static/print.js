// On paper folded answers are open and colors are those of the light theme; afterwards all is as it was.
(() => {
  const root = document.documentElement;
  let theme;
  let folded = [];

  addEventListener("beforeprint", () => {
    theme = root.dataset.theme;
    root.dataset.theme = "light";
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const answer of folded) answer.open = true;
  });
  addEventListener("afterprint", () => {
    root.dataset.theme = theme;
    for (const answer of folded) answer.open = false;
  });
})();
