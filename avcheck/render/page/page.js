"use strict";
(() => {
  const PAGE = 200; // rows in the document at a time, so that any number of files stays quick
  const one = (selector, from = document) => from.querySelector(selector);

  document.addEventListener("click", (event) => {
    const copy = event.target.closest(".copy");
    if (copy) {
      const text = one("code", copy.parentElement).textContent;
      navigator.clipboard.writeText(text).then(() => { copy.textContent = "Copied"; }, () => { copy.textContent = "Could not copy"; });
    }
    const link = event.target.closest("a.download[data-name]");
    if (link && "DecompressionStream" in window) {
      event.preventDefault();
      unpacked(link.href.slice(link.href.indexOf(",") + 1)).then((record) => save(record, link.dataset.name));
    }
  });

  async function unpacked(packed) {
    const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).blob();
  }

  function save(record, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([record], { type: "application/json" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  const table = one("table.files");
  if (!table) return;
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const inOrder = new Intl.Collator(undefined, { numeric: true });
  const number = (text) => (text === "" ? null : Number(text));
  const rows = [...body.rows].map((row, rank) => {
    const cells = row.cells;
    return {
      row,
      rank,
      name: one(".opens", row).textContent,
      text: `${one(".opens", row).textContent} ${cells[1].textContent} ${cells[5].textContent}`.toLowerCase(),
      verdict: row.className,
      offset: number(row.dataset.offset),
      confidence: number(cells[3].textContent),
      duration: number(row.dataset.duration),
      opened: null,
    };
  });
  const ofRow = new Map(rows.map((item) => [item.row, item]));
  let sorted = rows, shown = rows, most = PAGE, key = "rank", down = false;

  function openable(row) {
    const name = one("span.opens", row);
    if (!name) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "opens";
    button.setAttribute("aria-expanded", "false");
    button.append(...name.childNodes);
    name.replaceWith(button);
  }

  function fill() {
    const part = shown.slice(0, most);
    for (const item of part) openable(item.row);
    body.replaceChildren(...part.flatMap((item) => (item.opened ? [item.row, item.opened] : [item.row])));
    const count = rows.length === 1 ? "1 row" : `${rows.length} rows`; // a file with several sounds has several
    const all = shown.length === rows.length ? count : `${shown.length} of ${count}`;
    const order = key === "rank" && !down ? ", worst first" : "";
    one("#status").textContent = `${all}${order}${part.length < shown.length ? `; the first ${part.length} are shown` : ""}.`;
    one(".more").hidden = part.length >= shown.length;
  }

  function filter() {
    const words = one("#find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const verdicts = new Set([...document.querySelectorAll("[name=verdict]:checked")].map((box) => box.value));
    shown = sorted.filter((item) => verdicts.has(item.verdict) && words.every((word) => item.text.includes(word)));
    fill();
  }

  function sort(by) {
    down = key === by ? !down : false;
    key = by;
    const sign = down ? -1 : 1;
    // What has no number comes last, either way.
    sorted = [...rows].sort((a, b) => {
      const [x, y] = [a[key], b[key]];
      if (x === null || y === null) return (x === null) - (y === null) || a.rank - b.rank;
      return sign * (typeof x === "string" ? inOrder.compare(x, y) : x - y) || a.rank - b.rank;
    });
    for (const head of heads) {
      if (head.dataset.key === key) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    filter();
  }

  function toggle(button) {
    const item = ofRow.get(button.closest("tr"));
    if (item.opened) {
      item.opened.remove();
      item.opened = null;
    } else {
      item.opened = document.createElement("tr");
      item.opened.className = "opened";
      const cell = item.opened.insertCell();
      cell.colSpan = heads.filter((head) => head.offsetWidth > 0).length; // narrow windows hide some
      cell.append(one("template", item.row).content.cloneNode(true));
      item.row.after(item.opened);
    }
    button.setAttribute("aria-expanded", String(Boolean(item.opened)));
  }

  for (const head of heads) {
    if (!head.dataset.key) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(head.dataset.key));
    head.append(button);
  }
  body.addEventListener("click", (event) => {
    const button = event.target.closest("button.opens");
    if (button) toggle(button);
  });
  let waiting = 0;
  one("#find").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { most = PAGE; filter(); }, 80);
  });
  for (const box of document.querySelectorAll("[name=verdict]")) box.addEventListener("change", filter);
  one("#more").addEventListener("click", () => { most += PAGE; fill(); });
  one("#all").addEventListener("click", () => { most = Infinity; fill(); });
  let before = most;
  window.addEventListener("beforeprint", () => { before = most; most = Infinity; fill(); });
  window.addEventListener("afterprint", () => { most = before; fill(); });
  one(".filters").hidden = false;
  body.classList.remove("waiting");
  fill();
})();
