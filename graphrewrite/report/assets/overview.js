"use strict";
// The list of passes, and what became of the model as a whole.

// The passes in their order; those that changed nothing are folded away.
function timeline(page) {
  const items = [
    h(
      "button",
      { onclick: () => page.go(null), id: "pass-overview" },
      h("span", { className: "number" }),
      h("span", { className: "name" }, "Overview"),
    ),
  ];
  let quiet = [];
  const fold = () => {
    if (!quiet.length) return;
    const hidden = quiet;
    const plural = hidden.length === 1 ? "1 pass changed nothing" : `${hidden.length} passes changed nothing`;
    const box = h("div", { hidden: true }, ...hidden);
    items.push(
      h(
        "button",
        {
          className: "fold",
          ariaExpanded: "false",
          onclick: event => {
            box.hidden = !box.hidden;
            event.target.ariaExpanded = String(!box.hidden);
          },
        },
        plural,
      ),
      box,
    );
    quiet = [];
  };
  page.passes.forEach((pass, position) => {
    const number = h("span", { className: "number" }, String(pass.index).padStart(3, "0"));
    if (!pass.set) {
      quiet.push(
        h(
          "button",
          { className: "quiet", title: pass.undone || "", onclick: () => page.go(position), id: `pass-${position}` },
          number,
          h("span", { className: "name" }, pass.name + (pass.undone ? " (undone)" : "")),
        ),
      );
      return;
    }
    fold();
    const { gone, made, kept } = page.marks(position);
    const error = pass.errors && worst(pass.errors, 2);
    const dot = pass.problem ? "dot unknown" : error ? (error[0] ? "dot" : "dot bad") : null;
    items.push(
      h(
        "button",
        { onclick: () => page.go(position), id: `pass-${position}`, title: pass.spec },
        number,
        h("span", { className: "name" }, pass.name),
        dot ? h("span", { className: dot, title: pass.problem || `error so far: ${errorText(error)}` }) : h("span"),
        h(
          "span",
          { className: "delta" },
          gone ? h("span", { className: "minus" }, `−${gone}`) : null,
          made ? h("span", { className: "plus" }, `+${made}`) : null,
          kept ? h("span", { className: "tilde" }, `~${kept}`) : null,
          pass.totals.bytes !== pass.before.bytes
            ? h(
                "span",
                {},
                signed(pass.totals.bytes - pass.before.bytes).replace(/[\d,]+/, text =>
                  bytes(Number(text.replaceAll(",", ""))),
                ),
              )
            : null,
        ),
      ),
    );
  });
  fold();
  $("timeline").replaceChildren(...items);
}

// What became of the model as a whole.
function overview(page) {
  const { data } = page,
    end = page.end,
    start = data.totals;
  const sum = totals => Object.values(totals.operators).reduce((a, b) => a + b, 0);
  const card = (label, before, after) =>
    h(
      "div",
      { className: "card" },
      h("b", {}, before === after ? after : `${before} → ${after}`),
      h("span", {}, label),
    );
  const errors = page.passes.filter(pass => pass.errors && pass.errors.length);
  const last = errors.length ? worst(errors[errors.length - 1].errors, 2) : null;
  const parts = [
    h("h2", {}, data.model.split("/").pop()),
    h(
      "div",
      { className: "cards" },
      card("nodes", count(sum(start)), count(sum(end))),
      card("parameters", count(start.parameters), count(end.parameters)),
      card("bytes of weights", bytes(start.bytes), bytes(end.bytes)),
      card(
        "passes that changed something",
        `${page.changing.length} of ${page.passes.length}`,
        `${page.changing.length} of ${page.passes.length}`,
      ),
      last ? card("error in the end", errorText(last), errorText(last)) : null,
    ),
  ];
  for (const [code, operator, node, reason, hint] of data.findings)
    parts.push(
      h(
        "div",
        { className: "finding" },
        h("b", {}, `${code}: ${operator} `),
        h("a", { className: "mono", onclick: () => page.look(node) }, node),
        h("div", {}, reason),
        hint ? h("small", {}, `try: ${hint}`) : null,
      ),
    );
  if (errors.length)
    parts.push(
      h("h3", {}, "Error along the pipeline"),
      chart(page),
      h(
        "p",
        { className: "hint" },
        "Line: largest error of any output against the source, as a share of max(1, its largest value). Bars: what the pass added. Click one to see the pass.",
      ),
    );
  const names = [...new Set([...Object.keys(start.operators), ...Object.keys(end.operators)])].sort(
    (a, b) =>
      (end.operators[b] || 0) - (end.operators[a] || 0) || (start.operators[b] || 0) - (start.operators[a] || 0),
  );
  const most = Math.max(1, ...Object.values(start.operators), ...Object.values(end.operators));
  const bar = number =>
    h(
      "td",
      { width: "22%" },
      Object.assign(h("div", { className: "bar" }), { style: `width:${(100 * number) / most}%`, hidden: !number }),
    );
  parts.push(
    h("h3", {}, "Operators"),
    h(
      "table",
      {},
      h("tr", {}, ...["operator", "before", "", "after", "", "difference"].map(text => h("th", {}, text))),
      ...names.map(name => {
        const [a, b] = [start.operators[name] || 0, end.operators[name] || 0];
        return h(
          "tr",
          {},
          h("td", { className: "mono" }, name),
          h("td", { className: "n" }, String(a)),
          bar(a),
          h("td", { className: "n" }, String(b)),
          bar(b),
          h("td", { className: "n" }, a === b ? "" : signed(b - a)),
        );
      }),
    ),
  );
  parts.push(h("h3", {}, "Transposes left"));
  if (data.transposes.length)
    parts.push(
      h(
        "table",
        {},
        h("tr", {}, ...["at", "moves", "why"].map(text => h("th", {}, text))),
        ...data.transposes.map(([node, size, reason]) =>
          h(
            "tr",
            {},
            h("td", { className: "mono" }, node),
            h("td", { className: "n" }, bytes(size)),
            h("td", {}, reason),
          ),
        ),
      ),
    );
  else
    parts.push(
      h(
        "p",
        { className: "hint" },
        data.findings.length
          ? "Not known: the target can't hold the model."
          : data.target
            ? "None."
            : "Only a pipeline has an end to look at.",
      ),
    );
  const values = Object.entries(data.values).sort((a, b) => relative(b[1]) - relative(a[1]));
  if (values.length)
    parts.push(
      h("h3", {}, "Values in between, against those of the same name in the source"),
      h(
        "p",
        { className: "hint" },
        "A pass that changes what a value is gives it another name, so what stands here should agree.",
      ),
      h(
        "table",
        {},
        h("tr", {}, ...["value", "difference", "cosine"].map(text => h("th", {}, text))),
        ...values
          .slice(0, 25)
          .map(([name, error]) =>
            h(
              "tr",
              {},
              h(
                "td",
                {},
                page.index.has(name)
                  ? h("a", { className: "mono", onclick: () => page.jump(page.places([name])[0]) }, name)
                  : name,
              ),
              h("td", { className: "n" }, errorText(error)),
              h("td", { className: "n" }, error[6] === null ? "" : error[6].toFixed(6)),
            ),
          ),
      ),
    );
  const notes = page.passes.flatMap(pass => pass.notes);
  if (notes.length) parts.push(h("h3", {}, "Notes"), ...notes.map(note => h("div", {}, note)));
  $("overview").replaceChildren(...parts);
}

// The error after each pass, on a logarithmic scale.
function chart(page) {
  const points = page.changing
    .map(position => ({ position, pass: page.passes[position], errors: page.passes[position].errors || [] }))
    .filter(point => point.errors.length);
  const [width, height, left, bottom] = [900, 210, 52, 44];
  const x = index => left + ((index + 0.5) * (width - left - 12)) / points.length;
  const low = -10,
    high = 0;
  const y = error => {
    const value = Math.min(high, Math.max(low, Math.log10(relative(error) || 1e-10)));
    return 12 + ((high - value) * (height - bottom - 12)) / (high - low);
  };
  const drawing = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img" });
  for (let power = low; power <= high; power += 2) {
    const at = 12 + ((high - power) * (height - bottom - 12)) / (high - low);
    drawing.append(
      svg("line", { class: "grid", x1: left, x2: width - 8, y1: at, y2: at }),
      svg("text", { x: left - 6, y: at + 3, "text-anchor": "end" }, power === low ? "0" : `1e${power}`),
    );
  }
  const line = [];
  points.forEach((point, index) => {
    const added = worst(point.errors, 1),
      total = worst(point.errors, 2);
    const open = () => page.go(point.position);
    const label = svg(
      "title",
      {},
      `${point.pass.name}\nadded: ${added ? errorText(added) : "not known"}\nin all: ${errorText(total)}`,
    );
    if (added && added[2] !== 0) {
      const bar = svg(
        "rect",
        { class: "added", x: x(index) - 7, width: 14, y: y(added), height: height - bottom - y(added) },
        label.cloneNode(true),
      );
      bar.addEventListener("click", open);
      drawing.append(bar);
    }
    line.push(`${x(index)},${y(total)}`);
    const dot = svg("circle", { class: total[0] ? "" : "bad", cx: x(index), cy: y(total), r: 4.5 }, label);
    dot.addEventListener("click", open);
    point.dot = dot;
    drawing.append(
      svg(
        "text",
        { x: x(index), y: height - bottom + 16, "text-anchor": "middle" },
        String(point.pass.index).padStart(3, "0"),
      ),
    );
  });
  drawing.append(svg("polyline", { class: "total", points: line.join(" ") }), ...points.map(point => point.dot));
  drawing.append(svg("text", { x: left, y: height - 8 }, "number of the pass"));
  return drawing;
}
