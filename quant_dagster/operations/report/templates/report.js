"use strict";
(() => {
  const { tables, reasons } = JSON.parse(document.getElementById("data").textContent);
  const PAGE = 200;
  const MINUS = "−";
  const ABSENT = "–";

  const make = (tag, style, text) => {
    const node = document.createElement(tag);
    if (style) node.className = style;
    if (text !== undefined && text !== null) node.textContent = text;
    return node;
  };
  const digits = (least, most) => {
    const form = new Intl.NumberFormat("en-US", { minimumFractionDigits: least, maximumFractionDigits: most });
    return (value) => form.format(value).replace("-", MINUS);
  };
  const whole = digits(0, 0), two = digits(2, 2), quantity = digits(0, 8), price = digits(4, 4), one = digits(1, 1), three = digits(3, 3);
  const plus = (value, text) => (value > 0 ? "+" + text : text);
  const format = {
    count: whole, quantity, price, money: two,
    signed: (v) => plus(v, two(v)), signed_cost: two,
    percent: (v) => two(v * 100) + " %", bps: one, number: three,
  };
  const numeric = (kind) => kind in format;
  const spell = (code) => reasons[code] || code.split("_").join(" ");
  const words = (value, kind) => {
    if (value === null || value === undefined) return "";
    if (kind === "reasons") return value.map((code) => code + " " + spell(code)).join("; ");
    if (kind === "strip") return "";
    return numeric(kind) ? format[kind](value) : String(value);
  };

  const cell = (value, column, largest) => {
    const kind = column.kind;
    const td = make("td", (numeric(kind) ? "right is-" : "is-") + kind);
    if (value === null || value === undefined || (Array.isArray(value) && !value.length)) {
      td.append(make("span", "absent", ABSENT));
    } else if (kind === "pill") {
      td.append(make("span", "pill " + String(value).toLowerCase().replace(/[^a-z_]/g, ""), value));
    } else if (kind === "reasons") {
      td.textContent = value.map(spell).join("; ");
      td.title = value.join(", ");
    } else if (kind === "strip") {
      const strip = make("span", "strip");
      const low = value.filter((score) => score < 1).length;
      strip.setAttribute("role", "img");
      strip.setAttribute("aria-label", low ? low + " scores below 1" : "every score is 1");
      for (const score of value) {
        const box = make("i");
        if (score < 1) box.style.background = `color-mix(in srgb, var(--quality) ${Math.round(25 + 75 * (1 - score))}%, var(--card))`;
        box.title = String(score);
        strip.append(box);
      }
      td.append(strip);
    } else {
      td.textContent = words(value, kind);
      if (kind === "code" && td.textContent.length > 34) td.classList.add("is-wide");
      if (kind === "signed") {
        td.classList.add(value > 0 ? "gain" : value < 0 ? "loss" : "zero");
        if (largest > 0) {
          const bar = make("i");
          bar.style.right = "8px";
          bar.style.width = (Math.abs(value) / largest) * 80 + "%";
          td.append(bar);
        }
      }
    }
    return td;
  };

  const small = (head, rows) => {
    const table = make("table"), top = make("tr"), body = make("tbody"), thead = make("thead");
    head.forEach((title) => top.append(make("th", "", title)));
    thead.append(top);
    for (const row of rows) {
      const tr = make("tr");
      row.forEach((value) => tr.append(make("td", typeof value === "string" && value.length > 14 ? "left" : "", value ?? ABSENT)));
      body.append(tr);
    }
    table.append(thead, body);
    return table;
  };
  const maybe = (value, form) => (value === null || value === undefined ? ABSENT : form(value));

  const unfold = (row, table, detail) => {
    const td = make("td", ""), list = make("dl");
    td.colSpan = table.columns.length;
    const say = (name, text) => { if (text) list.append(make("dt", "", name), make("dd", "", text)); };
    const why = row[table.columns.findIndex((column) => column.kind === "reasons")] || [];
    say("why", why.map((code) => `${spell(code)} (${code})`).join("; "));
    const size = detail.size;
    if (size && "weight" in size) {
      const p = (v) => maybe(v, format.percent);
      say("size", `${p(size.weight)} of equity, set by ${size.bound_by}: Kelly ${p(size.kelly_weight)}, volatility target ${p(size.volatility_weight)}, cap ${p(size.cap)}`);
    }
    if (detail.gate) {
      say("risk gate", `${detail.gate.outcome}: ${maybe(detail.gate.approved, quantity)} of ${maybe(detail.gate.requested, quantity)}`
        + (detail.gate.reasons.length ? "; " + detail.gate.reasons.map(spell).join("; ") : ""));
    }
    say("forecast fallback", detail.fallback);
    say("quality issues", detail.issues);
    say("not evaluated", detail.not_evaluated);
    say("not known", detail.unknown);
    td.append(list);
    if (detail.signals?.length) {
      td.append(make("h4", "", "Signals"), small(["alpha", "direction", "strength", "confidence", "risk", "priority", "router", "reason"],
        detail.signals.map(([alpha, direction, ...rest]) => [alpha, plus(direction, String(direction).replace("-", MINUS)),
          ...rest.slice(0, 4).map((v) => maybe(v, three)), rest[4], spell(rest[5])])));
    }
    if (detail.forecasts?.length) {
      td.append(make("h4", "", "Combined forecast of the log return"), small(["sessions", "mean, bps", "std", "5 %", "25 %", "50 %", "75 %", "95 %", "fallback"],
        detail.forecasts.map(([horizon, mean, ...rest]) => [horizon, maybe(mean, one), ...rest.slice(0, 6).map((v) => maybe(v, format.percent)), rest[6]])));
    }
    const tr = make("tr", "detail");
    tr.append(td);
    return tr;
  };

  const build = (host, table) => {
    const { columns, rows, filters, details } = table;
    const state = { text: "", chosen: new Map(), sort: null, descending: false, page: 0 };
    if (table.sort !== null) {
      state.descending = table.sort < 0;
      state.sort = table.sort < 0 ? ~table.sort : table.sort;
    }
    const haystack = table.search ? rows.map((row) => row.map((v, i) => words(v, columns[i].kind)).join(" ").toLowerCase()) : null;
    const largest = columns.map((column, i) => (column.kind === "signed" ? Math.max(0, ...rows.map((row) => Math.abs(row[i] ?? 0))) : 0));
    const count = make("span", "count"), previous = make("button", "", "‹"), next = make("button", "", "›");
    previous.setAttribute("aria-label", "previous page");
    next.setAttribute("aria-label", "next page");
    previous.onclick = () => { state.page -= 1; draw(); };
    next.onclick = () => { state.page += 1; draw(); };

    if (table.search || filters.length) {
      const controls = make("div", "controls");
      if (table.search) {
        const input = make("input");
        input.type = "search";
        input.placeholder = "Filter: symbol, reason, …";
        input.setAttribute("aria-label", "filter rows by text");
        input.oninput = () => { state.text = input.value.trim().toLowerCase(); state.page = 0; draw(); };
        controls.append(input);
      }
      for (const i of filters) {
        const values = [...new Set(rows.map((row) => row[i]).filter((v) => v !== null && v !== undefined))].sort();
        if (values.length < 2) continue;
        const select = make("select");
        select.setAttribute("aria-label", columns[i].title);
        select.append(new Option("any " + columns[i].title, ""), ...values.map((v) => new Option(v, v)));
        select.onchange = () => {
          if (select.value === "") state.chosen.delete(i); else state.chosen.set(i, select.value);
          state.page = 0;
          draw();
        };
        controls.append(select);
      }
      controls.append(count, previous, next);
      host.append(controls);
    }

    const frame = make("div", "frame"), view = make("table"), head = make("thead"), body = make("tbody"), top = make("tr");
    frame.tabIndex = 0;
    const heads = columns.map((column, i) => {
      const th = make("th", numeric(column.kind) ? "right" : ""), button = make("button", "", column.title);
      th.scope = "col";
      if (column.hint) th.title = column.hint;
      button.onclick = () => {
        state.descending = state.sort === i ? !state.descending : numeric(column.kind);
        state.sort = i;
        state.page = 0;
        draw();
      };
      th.append(button);
      top.append(th);
      return th;
    });
    head.append(top);
    view.append(head, body);
    frame.append(view);
    host.append(frame);

    const compare = (a, b) => {
      const [x, y] = [rows[a][state.sort], rows[b][state.sort]];
      const missing = (v) => v === null || v === undefined;
      if (missing(x) || missing(y)) return missing(x) - missing(y) || a - b;
      const order = typeof x === "number" && typeof y === "number" ? x - y : String(x) < String(y) ? -1 : String(x) > String(y) ? 1 : 0;
      return (state.descending ? -order : order) || a - b;
    };
    const draw = () => {
      let shown = rows.map((_, i) => i);
      if (state.text) shown = shown.filter((i) => haystack[i].includes(state.text));
      for (const [column, value] of state.chosen) shown = shown.filter((i) => String(rows[i][column]) === value);
      if (state.sort !== null) shown.sort(compare);
      heads.forEach((th, i) => {
        if (i === state.sort) th.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
        else th.removeAttribute("aria-sort");
      });
      const pages = Math.max(1, Math.ceil(shown.length / PAGE));
      state.page = Math.min(Math.max(0, state.page), pages - 1);
      const first = state.page * PAGE, part = shown.slice(first, first + PAGE);
      count.textContent = shown.length > PAGE
        ? `${whole(first + 1)}–${whole(first + part.length)} of ${whole(shown.length)}${shown.length < rows.length ? ` (of ${whole(rows.length)})` : ""}`
        : `${whole(shown.length)}${shown.length < rows.length ? ` of ${whole(rows.length)}` : ""} rows`;
      previous.hidden = next.hidden = pages === 1;
      previous.disabled = state.page === 0;
      next.disabled = state.page === pages - 1;
      body.replaceChildren(...part.map((i) => line(i)));
      if (!part.length) {
        const tr = make("tr"), td = make("td", "none", "no rows");
        td.colSpan = columns.length;
        tr.append(td);
        body.append(tr);
      }
    };
    const line = (i) => {
      const tr = make("tr", "row");
      columns.forEach((column, c) => tr.append(cell(rows[i][c], column, largest[c])));
      if (details.length) {
        const button = make("button", "open", "▸");
        button.setAttribute("aria-expanded", "false");
        button.setAttribute("aria-label", "details");
        tr.classList.add("opens");
        tr.firstChild.prepend(button);
        tr.onclick = (event) => {
          if (String(window.getSelection())) return;
          const isOpen = button.getAttribute("aria-expanded") === "true";
          button.setAttribute("aria-expanded", String(!isOpen));
          button.textContent = isOpen ? "▸" : "▾";
          if (isOpen) tr.nextSibling.remove(); else tr.after(unfold(rows[i], table, details[i]));
          event.stopPropagation();
        };
      }
      return tr;
    };
    draw();
  };
  for (const host of document.querySelectorAll("[data-table]")) build(host, tables[host.dataset.table]);

  const tip = document.getElementById("tip");
  for (const figure of document.querySelectorAll("[data-pointer]")) {
    const { x, at, series } = JSON.parse(figure.dataset.pointer);
    const svg = figure.querySelector("svg"), cursor = figure.querySelector(".cursor");
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const here = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      let best = 0;
      x.forEach((value, i) => { if (Math.abs(value - here) < Math.abs(x[best] - here)) best = i; });
      cursor.setAttribute("x1", x[best]);
      cursor.setAttribute("x2", x[best]);
      tip.textContent = [at[best], ...series.map((one) => `${one.name}  ${one.text[best]}`)].join("\n");
      tip.hidden = false;
      const left = event.clientX + 14 + tip.offsetWidth > innerWidth ? event.clientX - 14 - tip.offsetWidth : event.clientX + 14;
      tip.style.left = left + "px";
      tip.style.top = Math.max(4, event.clientY - tip.offsetHeight - 10) + "px";
    });
    svg.addEventListener("pointerleave", () => {
      tip.hidden = true;
      cursor.setAttribute("x1", -9);
      cursor.setAttribute("x2", -9);
    });
  }
})();
