"use strict";
(() => {
  const table = document.getElementById("classes");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const words = document.getElementById("words");
  const standing = document.getElementById("standing");
  const shown = document.getElementById("shown");
  const key = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.value;
    return value === undefined ? cell.textContent.trim().toLowerCase() : Number(value);
  };
  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = row.dataset.text;
      const good = wanted.every((word) => text.includes(word)) && (!standing.value || row.dataset.standing === standing.value);
      row.hidden = !good;
      count += good;
    }
    shown.textContent = `${count} of ${rows.length} classes`;
  };
  const sort = (button) => {
    const head = button.closest("th");
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const column = head.cellIndex;
    const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    rows.sort((one, other) => compare(key(one, column), key(other, column)) * (down ? -1 : 1));
    body.append(...rows);
  };
  for (const button of table.querySelectorAll("th button")) button.addEventListener("click", () => sort(button));
  words.addEventListener("input", filter);
  standing.addEventListener("change", filter);
  document.getElementById("find").hidden = false;
  filter();
})();
