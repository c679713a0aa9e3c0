// Every result in one table: to sort by its heads, and to filter.
document.addEventListener("DOMContentLoaded", () => {
  const book = window.trustdd;
  if (!book.explorer) return;
  const { element } = book;
  const { settings, scores, score_names: scoreNames, sets, rows } = book.explorer;
  const root = document.documentElement.dataset.content_root ?? "";
  const all = rows.map(([setting, score, set, auroc, low, high, fpr]) => ({
    ...settings[setting], setting, score, set: sets[set].id, setName: sets[set].name, auroc, low, high, fpr,
  }));
  const percent = (share) => (share === null || share === undefined ? "–" : (100 * share).toFixed(1));
  const interval = (mean, low, high) => element("span", {}, element("b", {}, percent(mean)),
    low === null ? "" : element("small", {}, ` ${percent(low)} to ${percent(high)}`));
  // key → head, how a row's cell is filled, and whether it is a number
  const columns = {
    dataset: ["data"], method: ["method"], ipc: ["IPC", null, true], images: ["images"],
    outliers: ["outliers"], score: ["score", (row) => scoreNames[row.score] ?? row.score],
    set: ["OOD set", (row) => row.setName], auroc: ["AUROC (%)", (row) => interval(row.auroc, row.low, row.high), true],
    fpr: ["FPR95, InD positive (%)", (row) => percent(row.fpr), true],
    accuracy: ["accuracy (%)", (row) => interval(row.accuracy, row.accuracy_low, row.accuracy_high), true],
    seeds: ["seeds", null, true], profile: ["profile"],
  };
  const state = {
    filters: { score: scores.includes("msp") ? "msp" : scores[0], set: "all" },
    sort: "auroc", down: true, open: new Set(),
  };
  const filters = {
    dataset: "data", method: "method", ipc: "IPC", images: "images", outliers: "outliers",
    score: "score", set: "OOD set", profile: "profile",
  };
  const names = { score: scoreNames, set: Object.fromEntries(sets.map((set) => [set.id, set.name])) };
  const selects = Object.entries(filters).map(([key, label]) => {
    const values = [...new Set(all.map((row) => row[key]))];
    if (key === "ipc") values.sort((a, b) => a - b);
    if (values.length < 2) return "";
    const select = element("select", { id: `explorer-${key}`, change: () => { state.filters[key] = select.value; show(); } },
      element("option", { value: "" }, "any"),
      ...values.map((value) => element("option", { value, selected: state.filters[key] === value }, names[key]?.[value] ?? value)));
    return element("label", { for: `explorer-${key}` }, element("span", {}, label), select);
  });
  const body = element("tbody");
  const tally = element("p", { class: "tally", "aria-live": "polite" });
  const heads = Object.entries(columns).map(([key, [label, , number]]) => {
    const head = element("th", { scope: "col", class: number ? "text-right" : "text-left" },
      element("button", { type: "button", click: () => {
        if (state.sort === key) state.down = !state.down;
        else Object.assign(state, { sort: key, down: Boolean(number) });
        show();
      } }, label));
    head.dataset.key = key;
    return head;
  });
  const table = element("table", { class: "table result-table" },
    element("thead", {}, element("tr", {}, ...heads)), body);
  const compare = (a, b) => {
    const [one, other] = [a, b].map((row) => row[state.sort === "set" ? "setName" : state.sort] ?? -1);
    const order = typeof one === "number" ? one - other : String(one).localeCompare(String(other));
    return (state.down ? -order : order) || b.auroc - a.auroc;
  };
  const details = (row) => {
    const varied = Object.entries(row.varied).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
    const kept = (book.sets?.[row.profile] ?? []).filter((key) => row.keys.includes(key));
    return element("tr", { class: "details" }, element("td", { colspan: Object.keys(columns).length },
      element("p", {}, "Runs: ", ...row.keys.flatMap((key, at) => [at ? ", " : "", element("code", {}, key)]), "."),
      element("p", {}, varied.length ? `Settings that are not the published ones: ${varied.join("; ")}.` : "All settings are the published ones."),
      element("p", {}, "Make it again: ", element("code", {}, row.command)),
      kept.length ? element("p", {}, "Take the set: ", ...kept.flatMap((key, at) => [at ? ", " : "",
        element("a", { href: `${root}sets/${row.profile}/${key}.safetensors`, download: "" }, `${key}.safetensors`)])) : null));
  };
  const shown = () => all.filter((row) => Object.entries(state.filters)
    .every(([key, value]) => !value || String(row[key]) === String(value))).sort(compare);
  const show = () => {
    const found = shown();
    for (const head of heads) {
      if (head.dataset.key === state.sort) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    body.replaceChildren(...found.flatMap((row) => {
      const id = `${row.setting}-${row.score}-${row.set}`;
      const toggle = () => { if (!state.open.delete(id)) state.open.add(id); show(); document.getElementById(id)?.focus(); };
      const cells = Object.entries(columns).map(([key, [, fill, number]], at) => {
        const content = fill ? fill(row) : row[key];
        if (at) return element("td", { class: number ? "text-right" : "text-left" }, content ?? "–");
        return element("th", { scope: "row" }, element("button", { type: "button", id, "aria-expanded": String(state.open.has(id)),
          "aria-label": `${content}: settings, command, set`, click: toggle }, content));
      });
      return [element("tr", {}, ...cells), ...(state.open.has(id) ? [details(row)] : [])];
    }));
    // what the filter says of every row need not stand in each
    for (const row of table.rows) {
      if (row.classList.contains("details")) continue;
      [...row.cells].forEach((cell, at) => {
        const key = Object.keys(columns)[at];
        cell.hidden = at > 0 && key in filters && Boolean(state.filters[key]);
      });
    }
    tally.textContent = `${found.length} of ${all.length} results.`;
  };
  const save = element("button", { type: "button", click: () => {
    const keys = ["profile", "dataset", "method", "images", "outliers", "ipc", "score", "set", "auroc", "low", "high", "fpr", "accuracy", "seeds", "command"];
    const quoted = (value) => (/[",\n]/.test(String(value ?? "")) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? ""));
    const text = [keys.join(","), ...shown().map((row) => keys.map((key) => quoted(row[key])).join(","))].join("\n");
    const link = element("a", { href: URL.createObjectURL(new Blob([`${text}\n`], { type: "text/csv" })), download: "trustdd-results.csv" });
    link.click();
    URL.revokeObjectURL(link.href);
  } }, "These as CSV");
  book.stand("explorer",
    element("div", { class: "filters" }, ...selects),
    element("div", { class: "under" }, tally, save, element("a", { href: `${root}data/results.csv`, download: "" }, "all as CSV")),
    element("div", { class: "pst-scrollable-table-container", tabindex: 0, role: "group", "aria-label": "results" },
      table));
  show();
  book.table = { state, shown };
});
