"use strict";
// The page: one pass, search, keys.

class Page {
  constructor(data) {
    this.data = data;
    this.passes = data.passes;
    this.states = new States(data);
    this.changing = this.passes.map((pass, position) => (pass.set ? position : -1)).filter(position => position >= 0);
    let totals = data.totals;
    for (const pass of this.passes) {
      pass.before = totals;
      totals = pass.after = pass.totals || totals;
    }
    this.end = totals;
    this.position = null;
    this.camera = new Camera([$("before"), $("after")]);
    this.list = new Rows(
      $("changes"),
      item => this.changeRow(item),
      item => this.choose(item.key, true),
    );
    this.found = new Rows(
      $("found"),
      item => [h("span", {}, item.key), h("small", {}, item.note)],
      item => this.jump(item),
    );
    $("model").textContent = `${data.model}${data.target ? "  →  " + data.target : ""}`;
    $("model").title = $("model").textContent;
    document.title = `${data.model.split("/").pop()} · graphrewrite diff`;
    timeline(this);
    overview(this);
    this.listen();
    this.route();
  }

  // How many nodes a pass removed, made and changed.
  marks(position) {
    const pass = this.passes[position];
    pass.added ||= new Set(
      pass.set.filter(node => !this.states.after(position - 1).nodes.has(node.k)).map(node => node.k),
    );
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
    $("details").replaceChildren(
      h(
        "p",
        { className: "hint" },
        position === null
          ? "Pick a pass on the left, or search for a node."
          : "Click a node to see its attributes, shapes, weights and errors.",
      ),
    );
    if (position !== null) this.openPass(position, key);
    history.replaceState(
      null,
      "",
      position === null ? "#" : `#${this.passes[position].index}${this.key ? "/" + encodeURIComponent(this.key) : ""}`,
    );
  }
  openPass(position, key) {
    const pass = this.passes[position];
    [this.before, this.after] = [this.states.after(position - 1), this.states.after(position)];
    this.changed = new Set(pass.set ? changedKeys(pass) : []);
    this.sites = pass.set ? findPlaces(this.before, this.after, pass) : [];
    const nodes = [...pass.nodes];
    const delta = (a, b) => (a === b ? count(b) : `${count(a)} → ${count(b)}`);
    const operators = Object.keys({ ...pass.before.operators, ...pass.after.operators })
      .sort()
      .map(name => [name, (pass.after.operators[name] || 0) - (pass.before.operators[name] || 0)])
      .filter(item => item[1]);
    const { after } = pass;
    $("head").replaceChildren(
      h("h2", {}, pass.spec),
      h(
        "div",
        { className: "facts" },
        pass.label ? h("span", {}, pass.label) : null,
        pass.rewrites ? h("span", {}, `${count(pass.rewrites)} rewrite${pass.rewrites === 1 ? "" : "s"}`) : null,
        h("span", {}, `${delta(...nodes)} nodes`),
        after.bytes !== pass.before.bytes
          ? h(
              "span",
              {},
              `${delta(pass.before.parameters, after.parameters)} parameters, ${bytes(pass.before.bytes)} → ${bytes(after.bytes)}`,
            )
          : null,
        pass.seconds ? h("span", {}, `${(1000 * pass.seconds).toFixed(0)} ms`) : null,
        pass.undone ? h("span", { className: "minus" }, `undone: ${pass.undone}`) : null,
      ),
      ...(pass.problem ? [h("div", { className: "tilde" }, `error not known: ${pass.problem}`)] : []),
      ...(pass.errors || [])
        .slice(0, 3)
        .map(([name, added, total]) =>
          h(
            "div",
            { className: total[0] ? "facts" : "facts minus" },
            h("span", { className: "mono" }, name),
            h("span", {}, `error added: ${added ? errorText(added) : "not known"}`),
            h("span", {}, `in all: ${errorText(total)}`),
          ),
        ),
      h(
        "div",
        { className: "chips" },
        ...operators.map(([name, difference]) =>
          h("span", { className: `chip ${difference < 0 ? "less" : "more"}` }, `${name} ${signed(difference)}`),
        ),
      ),
      pass.doc ? h("details", {}, h("summary", {}, "what this pass does"), h("pre", {}, pass.doc)) : null,
    );
    $("before-caption").textContent = `before · ${count(nodes[0])} nodes`;
    $("after-caption").textContent = `after · ${count(nodes[1])} nodes`;
    this.list.set([
      ...(pass.gone || []).map(gone => ({ key: gone, mark: "−" })),
      ...(pass.set || []).map(node => ({ key: node.k, mark: this.before.nodes.has(node.k) ? "~" : "+" })),
    ]);
    if (key !== null) this.focus([key], key, `around ${key}`);
    else if (this.sites.length)
      this.openPlace(
        Math.max(
          0,
          this.sites.findIndex(keys => keys.some(item => !this.before.nodes.has(item) || !this.after.nodes.has(item))),
        ),
      );
    else
      this.focus([...this.after.nodes.keys()].slice(0, 40), null, "nothing changed here: the beginning of the graph");
  }
  changeRow({ key, mark }) {
    const node = (mark === "−" ? this.before : this.after).nodes.get(key);
    return [
      h("span", { className: { "−": "minus", "+": "plus", "~": "tilde" }[mark] }, `${mark} `),
      h("span", {}, nodeLine(node)),
      node.f ? h("small", {}, `from ${node.f.slice(-3).join(", ")}`) : null,
    ];
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
      return [...counts].map(([name, times]) => (times > 1 ? `${name} ×${times}` : name)).join(", ") || "nothing";
    };
    this.focus(keys, null, `${tally(this.before, () => true)}  →  ${tally(this.after, () => true)}`);
  }
  focus(keys, picked, title) {
    this.seeds = keys;
    this.title = title;
    const hops = Number($("around").value) + (picked === null ? 0 : 2);
    this.shown = surroundings(
      this.before,
      this.after,
      keys.filter(key => this.before.nodes.has(key) || this.after.nodes.has(key)),
      hops,
    );
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
    if (picked !== null && this.shown.has(picked)) {
      this.choose(picked, false);
      this.camera.centre(this.picture.position(picked));
    }
  }
  refocus() {
    if (this.position !== null)
      this.focus(this.seeds, this.title.startsWith("around ") ? this.seeds[0] : null, this.title);
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
      for (const edge of side.querySelectorAll(".edge"))
        edge.classList.toggle("hot", edge.dataset.from === key || edge.dataset.to === key);
    }
    if (bring && this.shown.has(key)) this.camera.centre(this.picture.position(key));
    this.list.pick(this.list.items.findIndex(item => item.key === key));
    details(this, key);
    history.replaceState(null, "", `#${this.passes[this.position].index}/${encodeURIComponent(key)}`);
  }

  // -- search ---------------------------------------------------------------------------------------------------------

  // Where each key is to be seen: in the pass shown, else at its last change, else in the graph as loaded.
  places(keys) {
    return keys.map(key => {
      const here = this.position !== null && (this.before.nodes.has(key) || this.after.nodes.has(key));
      const last = this.index.get(key);
      return {
        key,
        position: here ? this.position : last.position,
        note: `${last.node.o}${here ? "" : `, pass ${this.passes[last.position]?.name ?? ""}`}`,
      };
    });
  }
  get index() {
    // every node that ever was, with the last pass that touched it
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
    if (words.length)
      for (const [key, { node }] of this.index) {
        const all = `${key} ${node.o} ${(node.f || []).join(" ")}`.toLowerCase();
        if (words.every(word => all.includes(word))) keys.push(key);
      }
    $("found").hidden = !words.length;
    const named = key => words.every(word => key.toLowerCase().includes(word)); // before those that only came from such a node
    const items = this.places(keys);
    items.sort(
      (a, b) => named(b.key) - named(a.key) || (b.position === this.position) - (a.position === this.position),
    );
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
    if (item.position === this.position && this.position !== null)
      this.focus([item.key], item.key, `around ${item.key}`);
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
      if (by && this.found.items.length) {
        this.found.pick(Math.min(this.found.items.length - 1, Math.max(0, this.found.picked + by)));
        event.preventDefault();
      }
      if (event.key === "Enter") this.jump(this.found.items[this.found.picked]);
      if (event.key === "Escape") {
        $("found").hidden = true;
        event.target.blur();
      }
      event.stopPropagation();
    };
    document.addEventListener("pointerdown", event => {
      if (!event.target.closest(".search")) $("found").hidden = true;
    });
    document.addEventListener("keydown", event => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
      const inPass = this.position !== null;
      const acts = {
        ArrowDown: () => this.step(1),
        ArrowRight: () => this.step(1),
        ArrowUp: () => this.step(-1),
        ArrowLeft: () => this.step(-1),
        "/": () => {
          $("search").focus();
          $("search").select();
        },
        o: () => this.go(null),
        n: () => inPass && this.sites.length && this.openPlace((this.place ?? -1) + 1),
        p: () => inPass && this.sites.length && this.openPlace((this.place ?? 1) - 1),
        f: () => inPass && this.camera.fit(this.picture),
        c: () => {
          if (inPass) {
            $("around").selectedIndex = ($("around").selectedIndex + 1) % $("around").length;
            this.refocus();
          }
        },
      };
      if (acts[event.key]) {
        event.preventDefault();
        acts[event.key]();
      }
    });
    $("previous").onclick = () => this.sites.length && this.openPlace((this.place ?? 1) - 1);
    $("next").onclick = () => this.sites.length && this.openPlace((this.place ?? -1) + 1);
    $("fit").onclick = () => this.camera.fit(this.picture);
    $("around").onchange = () => this.refocus();
    for (const side of [$("before"), $("after")])
      side.addEventListener("click", event => {
        const node = event.target.closest(".node");
        if (!node || this.camera.held?.far) return;
        if (event.detail > 1) this.focus([node.dataset.key], node.dataset.key, `around ${node.dataset.key}`);
        else this.choose(node.dataset.key, false);
      });
    addEventListener("resize", () => {
      if (this.position !== null) {
        this.camera.fit(this.picture);
        this.list.show();
      }
    });
    addEventListener("hashchange", () => this.route());
  }
  route() {
    const [index, ...rest] = location.hash.slice(1).split("/");
    const position = this.passes.findIndex(pass => String(pass.index) === index);
    const key = rest.length ? decodeURIComponent(rest.join("/")) : null;
    const known =
      position >= 0 &&
      key !== null &&
      (this.states.after(position).nodes.has(key) || this.states.after(position - 1).nodes.has(key));
    this.go(position >= 0 ? position : this.passes.length === 1 ? 0 : null, known ? key : null);
  }
}

(async () => {
  const packed = Uint8Array.from(atob($("data").textContent), letter => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  window.page = new Page(await new Response(stream).json());
  requestAnimationFrame(() => {
    document.documentElement.dataset.ready = String(Math.round(performance.now()));
  });
})().catch(error => {
  document.body.textContent = `This page can't be shown: ${error}. It needs a browser of 2023 or newer.`;
  throw error;
});
