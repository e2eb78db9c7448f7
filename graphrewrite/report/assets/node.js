"use strict";
// The details of one node.

// Everything known of the node `key`, with what the pass changed of it.
function details(page, key) {
  const [old, now] = [page.before.nodes.get(key), page.after.nodes.get(key)];
  const node = now || old;
  if (!node) return;
  const kind = !now ? "gone" : !old ? "new" : page.changed.has(key) ? "changed" : "";
  const both = (before, after) =>
    before === after || !old || !now
      ? [after ?? before ?? ""]
      : [
          before === undefined ? null : h("del", {}, before),
          before === undefined || after === undefined ? null : " ",
          after === undefined ? null : h("ins", {}, after),
        ];
  const pairs = (before, after) =>
    [...new Set([...before.keys(), ...after.keys()])].map(name => [name, both(before.get(name), after.get(name))]);
  const table = rows =>
    h(
      "dl",
      {},
      ...rows.flatMap(([name, content]) => [h("dt", {}, name), h("dd", {}, ...content.filter(item => item !== null))]),
    );
  const result = item => `${item[0]}: ${item[1]}${item[2] ? `, dimensions in the order [${item[2].join(", ")}]` : ""}`;
  const results = side => new Map((side?.r || []).map((item, index) => [`${index}`, result(item)]));
  const operands = side =>
    new Map((side?.i || []).map((item, index) => [`${index}`, operandText(item).replace(/^%/, "")]));
  const attributes = side => new Map(side?.a || []);
  const parts = [
    h(
      "h2",
      {},
      both(old?.o, now?.o).length > 1 ? `${old.o} → ${now.o}` : node.o,
      kind ? h("span", { className: `tag ${kind}` }, kind) : "",
    ),
    h("div", { className: "key mono" }, key),
  ];
  if (node.f)
    parts.push(
      h("h3", {}, "From the source's nodes"),
      ...node.f.map(name => h("div", { className: "key mono" }, name)),
    );
  if (node.r) parts.push(h("h3", {}, "Results"), table(pairs(results(old), results(now))));
  if (node.t) parts.push(h("h3", {}, "Type"), h("div", { className: "mono" }, ...both(old?.t, now?.t).filter(Boolean)));
  if (node.i) {
    parts.push(h("h3", {}, "Operands"), table(pairs(operands(old), operands(now))));
    const state = now ? page.after : page.before;
    const links = [...new Set(state.sources(node))].map(source =>
      h("a", { className: "mono", onclick: () => page.choose(source, true) }, source),
    );
    if (links.length) parts.push(h("h3", {}, "Reads"), ...links.map(link => h("div", { className: "key" }, link)));
    const readers = state.readers.get(key) || [];
    if (readers.length)
      parts.push(
        h("h3", {}, "Read by"),
        ...readers
          .slice(0, 20)
          .map(reader =>
            h(
              "div",
              { className: "key" },
              h("a", { className: "mono", onclick: () => page.choose(reader, true) }, reader),
            ),
          ),
        readers.length > 20 ? h("div", { className: "hint" }, `and ${readers.length - 20} more`) : "",
      );
  }
  if (old?.a || now?.a) parts.push(h("h3", {}, "Attributes"), table(pairs(attributes(old), attributes(now))));
  const weightsOf = side => (side?.i || []).filter(item => item && typeof item === "object" && "w" in item);
  const weights = weightsOf(node);
  if (weights.length) parts.push(h("h3", {}, "Weights"), ...weights.map(item => weight(page, item)));
  const replaced = now ? weightsOf(old).filter(item => !weights.some(other => other.w === item.w)) : [];
  if (replaced.length) parts.push(h("h3", {}, "Weights before"), ...replaced.map(item => weight(page, item)));
  const errors = (node.r || []).filter(item => page.data.values[item[0]]);
  if (errors.length)
    parts.push(
      h("h3", {}, "Against the source, in the end"),
      table(
        errors.map(item => {
          const error = page.data.values[item[0]];
          return [item[0], [`${errorText(error)}${error[6] === null ? "" : `, cosine ${error[6].toFixed(6)}`}`]];
        }),
      ),
    );
  const touched = page.changing.filter(
    position => page.passes[position].set.some(item => item.k === key) || page.passes[position].gone.includes(key),
  );
  if (touched.length)
    parts.push(
      h("h3", {}, "Changed by"),
      ...touched.map(position =>
        h(
          "div",
          {},
          h(
            "a",
            { onclick: () => page.go(position, key) },
            `${String(page.passes[position].index).padStart(3, "0")} ${page.passes[position].name}`,
          ),
        ),
      ),
    );
  $("details").replaceChildren(...parts);
}

function weight(page, item) {
  const facts = item.w === null ? null : page.data.weights[item.w];
  const box = h("div", { className: "weight" }, h("div", { className: "key mono" }, `${item.n}: ${item.t}`));
  if (!facts) {
    box.append(h("div", { className: "hint" }, "no statistics"));
    return box;
  }
  const short = number => Number(number.toPrecision(4)).toString();
  box.append(
    h(
      "div",
      {},
      `${bytes(facts.nbytes)} · ${short(facts.low)} to ${short(facts.high)} · mean ${short(facts.mean)} ± ${short(facts.deviation)}`,
    ),
  );
  const size = facts.shape.reduce((a, b) => a * b, 1);
  const rest = [
    facts.zeros ? `${count(facts.zeros)} zeros (${((100 * facts.zeros) / size).toFixed(1)} %)` : "",
    facts.not_finite ? `${count(facts.not_finite)} not finite` : "",
  ]
    .filter(Boolean)
    .join(" · ");
  if (rest) box.append(h("div", { className: "hint" }, rest));
  const most = Math.max(1, ...facts.histogram),
    step = 100 / (facts.histogram.length || 1);
  box.append(
    svg(
      "svg",
      { viewBox: "0 0 100 34", preserveAspectRatio: "none" },
      ...facts.histogram.map((number, index) =>
        svg("rect", {
          x: index * step,
          width: step * 0.86,
          y: 34 - (34 * number) / most,
          height: (34 * number) / most,
        }),
      ),
    ),
  );
  return box;
}
