"use strict";
// The page around the drawings: timeline, one pass, node details, search, keys.

class Page {
  constructor(data) {
    this.data = data;
    this.passes = data.passes;
    this.states = new States(data);
    this.changing = this.passes.map((pass, position) => pass.set ? position : -1).filter(position => position >= 0);
    this.totals = this.passes.map((pass, position) => {
      const before = position ? this.totalsAt(position - 1) : data.totals;
      pass.before = before;
      return pass.totals || before;
    });
    this.position = null;
    this.camera = new Camera([$("before"), $("after")]);
    this.list = new Rows($("changes"), item => this.changeRow(item), item => this.choose(item.key, true));
    this.found = new Rows($("found"), item => [h("span", {}, item.key), h("small", {}, item.note)], item => this.jump(item));
    $("model").textContent = `${data.model}${data.target ? "  →  " + data.target : ""}`;
    $("model").title = $("model").textContent;
    document.title = `${data.model.split("/").pop()} · graphrewrite diff`;
    this.timeline();
    overview(this);
    this.listen();
    this.route();
  }
  totalsAt(position) {
    while (position >= 0 && !this.passes[position].totals) position -= 1;
    return position < 0 ? this.data.totals : this.passes[position].totals;
  }

  // -- timeline -------------------------------------------------------------------------------------------------------

  timeline() {
    const items = [h("button", { onclick: () => this.go(null), id: "pass-overview" }, h("span", { className: "number" }), h("span", { className: "name" }, "Overview"))];
    let quiet = [];
    const fold = () => {
      if (!quiet.length) return;
      const hidden = quiet;
      const plural = hidden.length === 1 ? "1 pass changed nothing" : `${hidden.length} passes changed nothing`;
      const box = h("div", { hidden: true }, ...hidden);
      items.push(h("button", { className: "fold", ariaExpanded: "false", onclick: event => { box.hidden = !box.hidden; event.target.ariaExpanded = String(!box.hidden); } }, plural), box);
      quiet = [];
    };
    this.passes.forEach((pass, position) => {
      const number = h("span", { className: "number" }, String(pass.index).padStart(3, "0"));
      if (!pass.set) {
        quiet.push(h("button", { className: "quiet", title: pass.undone || "", onclick: () => this.go(position), id: `pass-${position}` }, number, h("span", { className: "name" }, pass.name + (pass.undone ? " (undone)" : ""))));
        return;
      }
      fold();
      const { gone, made, kept } = this.marks(position);
      const error = pass.errors && worst(pass.errors, 2);
      const dot = pass.problem ? "dot unknown" : error ? (error[0] ? "dot" : "dot bad") : null;
      items.push(h("button", { onclick: () => this.go(position), id: `pass-${position}`, title: pass.spec }, number,
        h("span", { className: "name" }, pass.name),
        dot ? h("span", { className: dot, title: pass.problem || `error so far: ${errorText(error)}` }) : h("span"),
        h("span", { className: "delta" },
          gone ? h("span", { className: "minus" }, `−${gone}`) : null, made ? h("span", { className: "plus" }, `+${made}`) : null, kept ? h("span", { className: "tilde" }, `~${kept}`) : null,
          pass.totals.bytes !== pass.before.bytes ? h("span", {}, signed(pass.totals.bytes - pass.before.bytes).replace(/[\d,]+/, text => bytes(Number(text.replaceAll(",", ""))))) : null)));
    });
    fold();
    $("timeline").replaceChildren(...items);
  }
  marks(position) {
    const pass = this.passes[position];
    pass.added ||= new Set(pass.set.filter(node => !this.states.after(position - 1).nodes.has(node.k)).map(node => node.k));
    return { gone: pass.gone.length, made: pass.added.size, kept: pass.set.length - pass.added.size };
  }

  // -- one pass -------------------------------------------------------------------------------------------------------

  go(position, key = null) {
    this.position = position;
    for (const button of $("timeline").querySelectorAll("[aria-current]")) button.removeAttribute("aria-current");
    const button = $(position === null ? "pass-overview" : `pass-${position}`);
    if (button.parentElement.hidden) button.parentElement.hidden = false;
    button.setAttribute("aria-current", "true");
    button.scrollIntoView({ block: "nearest" });
    $("overview").hidden = position !== null;
    $("step").hidden = position === null;
    this.key = null;
    $("details").replaceChildren(h("p", { className: "hint" }, position === null ? "Pick a pass on the left, or search for a node." : "Click a node to see its attributes, shapes, weights and errors."));
    if (position !== null) this.openPass(position, key);
    history.replaceState(null, "", position === null ? "#" : `#${this.passes[position].index}${this.key ? "/" + encodeURIComponent(this.key) : ""}`);
  }
  openPass(position, key) {
    const pass = this.passes[position];
    [this.before, this.after] = [this.states.after(position - 1), this.states.after(position)];
    this.changed = new Set(pass.set ? changedKeys(pass) : []);
    this.sites = pass.set ? findPlaces(this.before, this.after, pass) : [];
    const nodes = [...pass.nodes];
    const delta = (a, b) => a === b ? count(b) : `${count(a)} → ${count(b)}`;
    const operators = Object.keys({ ...pass.before.operators, ...this.totalsAt(position).operators }).sort().map(name => [name, (this.totalsAt(position).operators[name] || 0) - (pass.before.operators[name] || 0)]).filter(item => item[1]);
    const after = this.totalsAt(position);
    $("head").replaceChildren(
      h("h2", {}, pass.spec),
      h("div", { className: "facts" }, pass.label ? h("span", {}, pass.label) : null, pass.rewrites ? h("span", {}, `${count(pass.rewrites)} rewrite${pass.rewrites === 1 ? "" : "s"}`) : null, h("span", {}, `${delta(...nodes)} nodes`),
        after.bytes !== pass.before.bytes ? h("span", {}, `${delta(pass.before.parameters, after.parameters)} parameters, ${bytes(pass.before.bytes)} → ${bytes(after.bytes)}`) : null,
        pass.seconds ? h("span", {}, `${(1000 * pass.seconds).toFixed(0)} ms`) : null, pass.undone ? h("span", { className: "minus" }, `undone: ${pass.undone}`) : null),
      ...(pass.problem ? [h("div", { className: "tilde" }, `error not known: ${pass.problem}`)] : []),
      ...(pass.errors || []).slice(0, 3).map(([name, added, total]) => h("div", { className: total[0] ? "facts" : "facts minus" }, h("span", { className: "mono" }, name), h("span", {}, `error added: ${added ? errorText(added) : "not known"}`), h("span", {}, `in all: ${errorText(total)}`))),
      h("div", { className: "chips" }, ...operators.map(([name, difference]) => h("span", { className: `chip ${difference < 0 ? "less" : "more"}` }, `${name} ${signed(difference)}`))),
      pass.doc ? h("details", {}, h("summary", {}, "what this pass does"), h("pre", {}, pass.doc)) : null);
    $("before-caption").textContent = `before · ${count(nodes[0])} nodes`;
    $("after-caption").textContent = `after · ${count(nodes[1])} nodes`;
    this.list.set([...(pass.gone || []).map(gone => ({ key: gone, mark: "−" })), ...(pass.set || []).map(node => ({ key: node.k, mark: this.before.nodes.has(node.k) ? "~" : "+" }))]);
    if (key !== null) this.focus([key], key, `around ${key}`);
    else if (this.sites.length) this.openPlace(Math.max(0, this.sites.findIndex(keys => keys.some(item => !this.before.nodes.has(item) || !this.after.nodes.has(item)))));
    else this.focus([...this.after.nodes.keys()].slice(0, 40), null, "nothing changed here: the beginning of the graph");
  }
  changeRow({ key, mark }) {
    const node = (mark === "−" ? this.before : this.after).nodes.get(key);
    return [h("span", { className: { "−": "minus", "+": "plus", "~": "tilde" }[mark] }, `${mark} `), h("span", {}, nodeLine(node)), node.f ? h("small", {}, `from ${node.f.slice(-3).join(", ")}`) : null];
  }
  openPlace(place) {
    this.place = (place + this.sites.length) % this.sites.length;
    const keys = this.sites[this.place];
    const tally = (state, wanted) => {
      const counts = new Map();
      for (const key of keys) {
        const node = state.nodes.get(key);
        if (node && wanted(key)) counts.set(operatorOf(node), (counts.get(operatorOf(node)) || 0) + 1);
      }
      return [...counts].map(([name, times]) => times > 1 ? `${name} ×${times}` : name).join(", ") || "nothing";
    };
    this.focus(keys, null, `${tally(this.before, () => true)}  →  ${tally(this.after, () => true)}`);
  }
  focus(keys, picked, title) {
    this.seeds = keys;
    this.title = title;
    const hops = Number($("around").value) + (picked === null ? 0 : 2);
    this.shown = surroundings(this.before, this.after, keys.filter(key => this.before.nodes.has(key) || this.after.nodes.has(key)), hops);
    this.picture = new Picture(this.before, this.after, this.shown);
    const inPlace = new Set(keys);
    const mark = key => {
      const hot = inPlace.has(key) && picked === null ? " hot" : "";
      if (!this.changed.has(key)) return "around";
      return (!this.after.nodes.has(key) ? "gone" : !this.before.nodes.has(key) ? "new" : "changed") + hot;
    };
    draw($("before"), this.before, this.shown, this.picture, 0, mark);
    draw($("after"), this.after, this.shown, this.picture, 1, mark);
    this.camera.fit(this.picture);
    const alone = picked !== null || !this.sites.length;
    $("place").textContent = alone ? "" : `${this.place + 1} of ${this.sites.length}`;
    $("what").textContent = title;
    $("what").title = title;
    if (picked !== null && this.shown.has(picked)) { this.choose(picked, false); this.camera.centre(this.picture.position(picked)); }
  }
  refocus() {
    if (this.position !== null) this.focus(this.seeds, this.title.startsWith("around ") ? this.seeds[0] : null, this.title);
  }
  // Show `key`: its details, and where it is not drawn yet, its place.
  choose(key, bring) {
    if (bring && !this.shown.has(key)) {
      const place = this.sites.findIndex(keys => keys.includes(key));
      if (place >= 0) this.openPlace(place);
      else this.focus([key], key, `around ${key}`);
    }
    this.key = key;
    for (const side of [$("before"), $("after")]) {
      for (const node of side.querySelectorAll(".node")) node.classList.toggle("picked", node.dataset.key === key);
      for (const edge of side.querySelectorAll(".edge")) edge.classList.toggle("hot", edge.dataset.from === key || edge.dataset.to === key);
    }
    if (bring && this.shown.has(key)) this.camera.centre(this.picture.position(key));
    this.list.pick(this.list.items.findIndex(item => item.key === key));
    this.details(key);
    history.replaceState(null, "", `#${this.passes[this.position].index}/${encodeURIComponent(key)}`);
  }

  // -- one node -------------------------------------------------------------------------------------------------------

  details(key) {
    const [old, now] = [this.before.nodes.get(key), this.after.nodes.get(key)];
    const node = now || old;
    if (!node) return;
    const kind = !now ? "gone" : !old ? "new" : this.changed.has(key) ? "changed" : "";
    const both = (before, after) => before === after || !old || !now ? [after ?? before ?? ""] : [before === undefined ? null : h("del", {}, before), before === undefined || after === undefined ? null : " ", after === undefined ? null : h("ins", {}, after)];
    const pairs = (before, after) => [...new Set([...before.keys(), ...after.keys()])].map(name => [name, both(before.get(name), after.get(name))]);
    const table = rows => h("dl", {}, ...rows.flatMap(([name, content]) => [h("dt", {}, name), h("dd", {}, ...content.filter(item => item !== null))]));
    const result = item => `${item[0]}: ${item[1]}${item[2] ? `, dimensions in the order [${item[2].join(", ")}]` : ""}`;
    const results = side => new Map((side?.r || []).map((item, index) => [`${index}`, result(item)]));
    const operands = side => new Map((side?.i || []).map((item, index) => [`${index}`, operandText(item).replace(/^%/, "")]));
    const attributes = side => new Map(side?.a || []);
    const parts = [
      h("h2", {}, both(old?.o, now?.o).length > 1 ? `${old.o} → ${now.o}` : node.o, kind ? h("span", { className: `tag ${kind}` }, kind) : ""),
      h("div", { className: "key mono" }, key),
    ];
    if (node.f) parts.push(h("h3", {}, "From the source's nodes"), ...node.f.map(name => h("div", { className: "key mono" }, name)));
    if (node.r) parts.push(h("h3", {}, "Results"), table(pairs(results(old), results(now))));
    if (node.t) parts.push(h("h3", {}, "Type"), h("div", { className: "mono" }, ...both(old?.t, now?.t).filter(Boolean)));
    if (node.i) {
      parts.push(h("h3", {}, "Operands"), table(pairs(operands(old), operands(now))));
      const state = now ? this.after : this.before;
      const links = [...new Set(state.sources(node))].map(source => h("a", { className: "mono", onclick: () => this.choose(source, true) }, source));
      if (links.length) parts.push(h("h3", {}, "Reads"), ...links.map(link => h("div", { className: "key" }, link)));
      const readers = state.readers.get(key) || [];
      if (readers.length) parts.push(h("h3", {}, "Read by"), ...readers.slice(0, 20).map(reader => h("div", { className: "key" }, h("a", { className: "mono", onclick: () => this.choose(reader, true) }, reader))), readers.length > 20 ? h("div", { className: "hint" }, `and ${readers.length - 20} more`) : "");
    }
    if (old?.a || now?.a) parts.push(h("h3", {}, "Attributes"), table(pairs(attributes(old), attributes(now))));
    const weights = (node.i || []).filter(item => item && typeof item === "object" && "w" in item);
    if (weights.length) parts.push(h("h3", {}, "Weights"), ...weights.map(item => this.weight(item)));
    const errors = (node.r || []).filter(item => this.data.values[item[0]]);
    if (errors.length) parts.push(h("h3", {}, "Against the source, in the end"), table(errors.map(item => {
      const error = this.data.values[item[0]];
      return [item[0], [`${errorText(error)}${error[6] === null ? "" : `, cosine ${error[6].toFixed(6)}`}`]];
    })));
    const touched = this.changing.filter(position => this.passes[position].set.some(item => item.k === key) || this.passes[position].gone.includes(key));
    if (touched.length) parts.push(h("h3", {}, "Changed by"), ...touched.map(position => h("div", {}, h("a", { onclick: () => this.go(position, key) }, `${String(this.passes[position].index).padStart(3, "0")} ${this.passes[position].name}`))));
    $("details").replaceChildren(...parts);
  }
  weight(item) {
    const facts = item.w === null ? null : this.data.weights[item.w];
    const box = h("div", { className: "weight" }, h("div", { className: "key mono" }, `${item.n}: ${item.t}`));
    if (!facts) { box.append(h("div", { className: "hint" }, "no statistics")); return box; }
    const short = number => Number(number.toPrecision(4)).toString();
    box.append(h("div", {}, `${bytes(facts.nbytes)} · ${short(facts.low)} to ${short(facts.high)} · mean ${short(facts.mean)} ± ${short(facts.deviation)}`));
    const size = facts.shape.reduce((a, b) => a * b, 1);
    const rest = [facts.zeros ? `${count(facts.zeros)} zeros (${(100 * facts.zeros / size).toFixed(1)} %)` : "", facts.not_finite ? `${count(facts.not_finite)} not finite` : ""].filter(Boolean).join(" · ");
    if (rest) box.append(h("div", { className: "hint" }, rest));
    const most = Math.max(1, ...facts.histogram), step = 100 / (facts.histogram.length || 1);
    box.append(svg("svg", { viewBox: "0 0 100 34", preserveAspectRatio: "none" }, ...facts.histogram.map((number, index) => svg("rect", { x: index * step, width: step * 0.86, y: 34 - 34 * number / most, height: 34 * number / most }))));
    return box;
  }

  // -- search ---------------------------------------------------------------------------------------------------------

  // Where each key is to be seen: in the pass shown, else at its last change, else in the graph as loaded.
  places(keys) {
    return keys.map(key => {
      const here = this.position !== null && (this.before.nodes.has(key) || this.after.nodes.has(key));
      const last = this.index.get(key);
      return { key, position: here ? this.position : last.position, note: `${last.node.o}${here ? "" : `, pass ${this.passes[last.position]?.name ?? ""}`}` };
    });
  }
  get index() { // every node that ever was, with the last pass that touched it
    if (!this._index) {
      this._index = new Map(this.data.first.map(node => [node.k, { node, position: this.changing[0] ?? 0 }]));
      for (const position of this.changing) {
        for (const node of this.passes[position].set) this._index.set(node.k, { node, position });
        for (const key of this.passes[position].gone) this._index.get(key).position = position;
      }
    }
    return this._index;
  }
  search(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const keys = [];
    if (words.length) for (const [key, { node }] of this.index) {
      const all = `${key} ${node.o} ${(node.f || []).join(" ")}`.toLowerCase();
      if (words.every(word => all.includes(word))) keys.push(key);
    }
    $("found").hidden = !words.length;
    const named = key => words.every(word => key.toLowerCase().includes(word)); // before those that only came from such a node
    const items = this.places(keys);
    items.sort((a, b) => named(b.key) - named(a.key) || (b.position === this.position) - (a.position === this.position));
    this.found.set(items, items.length ? 0 : -1);
  }
  look(text) {
    $("search").value = text;
    $("search").focus();
  }
  jump(item) {
    if (!item) return;
    $("found").hidden = true;
    $("search").blur();
    if (item.position === this.position && this.position !== null) this.focus([item.key], item.key, `around ${item.key}`);
    else this.go(item.position, item.key);
  }

  // -- input ----------------------------------------------------------------------------------------------------------

  step(by) {
    const stops = [null, ...this.changing];
    const at = this.position === null ? 0 : stops.findLastIndex(stop => stop !== null && stop <= this.position);
    this.go(stops[Math.min(stops.length - 1, Math.max(0, at + by))]);
  }
  listen() {
    $("search").oninput = event => this.search(event.target.value);
    $("search").onfocus = event => this.search(event.target.value);
    $("search").onkeydown = event => {
      const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (by && this.found.items.length) { this.found.pick(Math.min(this.found.items.length - 1, Math.max(0, this.found.picked + by))); event.preventDefault(); }
      if (event.key === "Enter") this.jump(this.found.items[this.found.picked]);
      if (event.key === "Escape") { $("found").hidden = true; event.target.blur(); }
      event.stopPropagation();
    };
    document.addEventListener("pointerdown", event => { if (!event.target.closest(".search")) $("found").hidden = true; });
    document.addEventListener("keydown", event => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
      const inPass = this.position !== null;
      const acts = {
        ArrowDown: () => this.step(1), ArrowRight: () => this.step(1), ArrowUp: () => this.step(-1), ArrowLeft: () => this.step(-1),
        "/": () => { $("search").focus(); $("search").select(); },
        o: () => this.go(null),
        n: () => inPass && this.sites.length && this.openPlace((this.place ?? -1) + 1),
        p: () => inPass && this.sites.length && this.openPlace((this.place ?? 1) - 1),
        f: () => inPass && this.camera.fit(this.picture),
        c: () => { if (inPass) { $("around").selectedIndex = ($("around").selectedIndex + 1) % $("around").length; this.refocus(); } },
      };
      if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
    });
    $("previous").onclick = () => this.sites.length && this.openPlace((this.place ?? 1) - 1);
    $("next").onclick = () => this.sites.length && this.openPlace((this.place ?? -1) + 1);
    $("fit").onclick = () => this.camera.fit(this.picture);
    $("around").onchange = () => this.refocus();
    for (const side of [$("before"), $("after")]) side.addEventListener("click", event => {
      const node = event.target.closest(".node");
      if (!node || this.camera.held?.far) return;
      if (event.detail > 1) this.focus([node.dataset.key], node.dataset.key, `around ${node.dataset.key}`);
      else this.choose(node.dataset.key, false);
    });
    addEventListener("resize", () => { if (this.position !== null) { this.camera.fit(this.picture); this.list.show(); } });
    addEventListener("hashchange", () => this.route());
  }
  route() {
    const [index, ...rest] = location.hash.slice(1).split("/");
    const position = this.passes.findIndex(pass => String(pass.index) === index);
    const key = rest.length ? decodeURIComponent(rest.join("/")) : null;
    const known = position >= 0 && key !== null && (this.states.after(position).nodes.has(key) || this.states.after(position - 1).nodes.has(key));
    this.go(position >= 0 ? position : this.passes.length === 1 ? 0 : null, known ? key : null);
  }
}

(async () => {
  const packed = Uint8Array.from(atob($("data").textContent), letter => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  window.page = new Page(await new Response(stream).json());
  requestAnimationFrame(() => { document.documentElement.dataset.ready = String(Math.round(performance.now())); });
})().catch(error => { document.body.textContent = `This page can't be shown: ${error}. It needs a browser of 2023 or newer.`; throw error; });
