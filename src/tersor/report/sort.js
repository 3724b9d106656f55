// Sort a table by the column whose heading is pressed; press again to turn round.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement;
    const body = head.closest("table").tBodies[0];
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[head.cellIndex].dataset.v ?? row.cells[head.cellIndex].textContent;
    const order = (a, b) => key(a).localeCompare(key(b), "en", { numeric: true });
    const number = (a, b) => Number(key(a)) - Number(key(b));
    const numeric = head.classList.contains("num");
    const rows = [...body.rows].sort(numeric ? number : order);
    body.append(...(down ? rows.reverse() : rows));
  });
}
