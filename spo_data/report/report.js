"use strict";
// The table of prompts: filters, order, pages, and the samples of an opened row. All text is set as text.
(() => {
  const PAGE = 50;
  const VERDICTS = ["correct", "wrong", "no answer", "truncated", "failed"];
  const OBSERVED = { correct: "correct", wrong: "wrong", no_answer: "no_answer", truncated: "truncated" };
  const { sources, rows } = JSON.parse(document.getElementById("data").textContent);
  const prompts = rows.map((row, place) => {
    const [id, text, truth, source, value, low, high, c, w, n, t, f, undrawn, tokens, suspect, samples] = row;
    return { place, id, text, truth, source, value, low, high, counts: [c, w, n, t, f], undrawn, tokens, suspect, samples };
  });
  const get = (id) => document.getElementById(id);
  const table = get("table");
  const head = table.tHead.rows[0];
  const body = table.tBodies[0];
  const several = sources.length > 1;
  const whole = (number) => number.toLocaleString("en-US");
  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // Name, class, sort key, and whether the largest comes first.
  const columns = [
    ["#", "place right", (p) => p.place, false],
    ["Prompt", "prompt", (p) => p.text, false],
    ["Ground truth", "truth", (p) => p.truth, false],
    ...(several ? [["Source", "source", (p) => sources[p.source], false]] : []),
    ["Value", "right", (p) => p.value, true],
    ["Bounds", "bounds", (p) => p.high - p.low, true],
    ...VERDICTS.map((name, k) => [name[0].toUpperCase() + name.slice(1), "count right", (p) => p.counts[k], true]),
    ["Tokens", "tokens right", (p) => p.tokens, true],
  ];
  let order = { column: 0, down: false };
  let page = 0;
  let found = prompts;

  const words = prompts.map(({ id, text, truth, suspect, samples }) =>
    [id, text, truth, suspect || "", ...(samples || []).map((sample) => sample[4] || "")].join("\n").toLowerCase());

  function select() {
    const text = get("search").value.trim().toLowerCase();
    const [least, most] = [get("least").value, get("most").value].map((typed) => (typed === "" ? null : Number(typed)));
    const [verdict, source, suspect] = [get("verdict").value, get("source").value, get("suspect").checked];
    found = prompts.filter((p) =>
      (text === "" || words[p.place].includes(text)) &&
      (least === null || (p.value !== null && p.value >= least)) &&
      (most === null || (p.value !== null && p.value <= most)) &&
      (verdict === "" || p.counts[verdict] > 0) &&
      (source === "" || p.source === Number(source)) &&
      (!suspect || p.suspect !== null));
    const key = columns[order.column][2];
    const sign = order.down ? -1 : 1;
    found.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === y) return a.place - b.place;
      if (x === null || y === null) return x === null ? 1 : -1;
      return (x < y ? -1 : 1) * sign;
    });
    page = 0;
    show();
  }

  function show() {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    get("count").textContent = `${whole(found.length)} of ${whole(prompts.length)} prompts`;
    get("page").textContent = `Page ${whole(page + 1)} of ${whole(pages)}`;
    get("previous").disabled = page === 0;
    get("next").disabled = page + 1 >= pages;
    const shown = found.slice(page * PAGE, (page + 1) * PAGE).map(rowOf);
    body.replaceChildren(...shown);
    if (!shown.length) body.append(make("tr", {}, make("td", { colSpan: columns.length }, "No prompt matches.")));
    [...head.cells].forEach((cell, k) => {
      if (k === order.column) cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    get("sort").value = `${order.column} ${order.down}`;
  }

  function rowOf(p) {
    const row = make("tr", { className: "row" });
    const opener = make("button", { type: "button" }, make("span", { className: "clamped", dir: "auto" }, p.text || "(empty)"));
    opener.setAttribute("aria-expanded", "false");
    const prompt = make("div", {}, opener);
    if (p.suspect !== null) prompt.append(make("span", { className: "badge", dir: "auto" }, `suspect: ${p.suspect}`));
    const cells = [
      whole(p.place + 1),
      prompt,
      make("span", { className: "clamped", dir: "auto" }, p.truth),
      ...(several ? [make("span", { dir: "auto" }, sources[p.source])] : []),
      p.value !== null ? p.value.toFixed(3) : p.undrawn ? "unfinished" : "none",
      range(p),
      ...p.counts.map((count) => make("span", { className: count ? "" : "zero" }, String(count))),
      p.tokens === null ? "–" : whole(Math.round(p.tokens)),
    ];
    cells.forEach((content, k) => {
      const cell = make("td", { className: columns[k][1] }, content);
      cell.dataset.label = columns[k][0];
      row.append(cell);
    });
    row.addEventListener("click", (event) => {
      if (event.target.closest("button") !== opener && String(getSelection())) return;
      const open = row.classList.toggle("open");
      opener.setAttribute("aria-expanded", String(open));
      if (!open) return row.nextSibling.remove();
      row.after(make("tr", { className: "detail" }, make("td", { colSpan: columns.length }, ...detail(p))));
      // The answer is at the end.
      row.nextSibling.querySelectorAll("pre").forEach((response) => { response.scrollTop = response.scrollHeight; });
    });
    return row;
  }

  function range({ value, low, high }) {
    const bar = make("span", { className: "range", title: `${low.toFixed(3)} to ${high.toFixed(3)}` });
    const span = make("i");
    span.style.left = `${100 * low}%`;
    span.style.width = `${100 * (high - low)}%`;
    bar.append(span);
    if (value !== null) {
      const mark = make("b");
      mark.style.left = `${100 * value}%`;
      bar.append(mark);
    }
    return bar;
  }

  function detail(p) {
    const undrawn = p.undrawn ? ` · ${p.undrawn === 1 ? "1 sample is" : `${whole(p.undrawn)} samples are`} not drawn yet` : "";
    const bounds = `bounds ${p.low.toFixed(3)} to ${p.high.toFixed(3)}`;
    const parts = [make("p", { className: "id" }, make("code", {}, p.id), ` · ${bounds}${undrawn}`)];
    if (p.samples === null) {
      return [...parts, make("p", { className: "plain" }, "This page has no room for this prompt’s samples; they are in samples/ in the run’s folder.")];
    }
    if (!p.samples.length) return [...parts, make("p", { className: "plain" }, "No samples yet.")];
    return [...parts, make("div", { className: "samples" }, ...p.samples.map(sampleOf))];
  }

  function sampleOf([index, verdict, score, tokens, answer, why, cut, end]) {
    const facts = make("p", {},
      make("span", {}, `#${index}`),
      make("b", {}, make("i", { className: `swatch ${OBSERVED[verdict] || ""}` }), verdict.replaceAll("_", " ")));
    if (score !== null) facts.append(make("span", {}, `score ${score}`));
    if (tokens !== null) facts.append(make("span", {}, `${whole(tokens)} tokens`));
    if (answer !== null) facts.append(make("span", {}, "answer ", make("bdi", {}, answer)));
    const sample = make("div", { className: "sample" }, facts);
    if (why) sample.append(make("p", {}, make("bdi", {}, why)));
    if (cut) sample.append(make("p", { className: "cut" }, `${whole(cut)} earlier characters are not shown:`));
    if (end) sample.append(make("pre", { dir: "auto", tabIndex: 0 }, end));
    return sample;
  }

  function turn(by) {
    page += by;
    show();
    table.scrollIntoView({ block: "start" });
  }

  columns.forEach(([name, kind, , down], k) => {
    const sorter = make("button", { type: "button" }, name);
    sorter.addEventListener("click", () => {
      order = { column: k, down: order.column === k ? !order.down : down };
      select();
    });
    head.append(make("th", { scope: "col", className: kind.includes("right") ? "right" : "" }, sorter));
    for (const way of [down, !down]) get("sort").append(make("option", { value: `${k} ${way}` }, `${name} ${way ? "↓" : "↑"}`));
  });
  sources.forEach((name, k) => get("source").append(make("option", { value: k }, name)));
  get("source-label").hidden = !several;
  get("sort").addEventListener("change", () => {
    const [column, down] = get("sort").value.split(" ");
    order = { column: Number(column), down: down === "true" };
    select();
  });
  get("filters").addEventListener("input", (event) => event.target.id === "sort" || select());
  get("filters").addEventListener("submit", (event) => event.preventDefault());
  get("filters").addEventListener("reset", () => setTimeout(() => {
    order = { column: 0, down: false };
    select();
  }));
  get("previous").addEventListener("click", () => turn(-1));
  get("next").addEventListener("click", () => turn(1));
  select();
})();
