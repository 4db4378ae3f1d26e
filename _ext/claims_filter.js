// Filter of the ledger page: section, status and words; a row stays when it fits all three.
(() => {
  const form = document.querySelector(".claims-filter");
  const groups = [...document.querySelectorAll(".claims-section")].map((section) => ({
    section,
    rows: [...section.querySelectorAll("li.claim")].map((row) => ({ row, text: row.textContent.toLowerCase() })),
  }));
  const total = groups.reduce((sum, group) => sum + group.rows.length, 0);

  function apply() {
    const kinds = [form.section.value, form.status.value].filter(Boolean);
    const words = form.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { section, rows } of groups) {
      let here = 0;
      for (const { row, text } of rows) {
        const fits = kinds.every((kind) => row.classList.contains(kind)) && words.every((word) => text.includes(word));
        row.hidden = !fits;
        here += fits;
      }
      section.hidden = here === 0;
      shown += here;
    }
    form.querySelector("[role=status]").textContent = `${shown} of ${total} rows`;
  }

  // A link to a row that the filter hides shows everything again.
  function reveal() {
    const target = document.getElementById(location.hash.slice(1));
    if (!target || !target.closest("[hidden]")) return;
    form.reset();
    apply();
    target.scrollIntoView();
  }

  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", reveal);
  addEventListener("pageshow", () => { // browsers fill forms again when one comes back
    apply();
    reveal();
  });
  document.querySelector("main").addEventListener("click", (event) => {
    if (event.target.closest('a[href^="#claim-"]')) setTimeout(reveal); // the same link twice changes no hash
  });
})();
