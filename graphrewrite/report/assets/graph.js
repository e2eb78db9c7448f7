"use strict";
// States of the graph, the places where a pass changed it, and drawings of both sides in one common layout.

const SPLIT = 32; // nodes of one place; more are cut into several, in graph order
const DRAWN = 160; // nodes of one drawing, context included
const NAME = 18; // letters of a name in a drawing, the last ones

class State {
  constructor(nodes) {
    this.nodes = nodes;
    this.makers = new Map();
    for (const node of nodes.values()) for (const result of node.r || []) this.makers.set(result[0], node.k);
    this._readers = null;
    this._ranks = null;
  }
  sources(node) {
    const found = [];
    for (const operand of node.i || []) {
      const maker = typeof operand === "string" ? this.makers.get(operand) : undefined;
      if (maker !== undefined) found.push(maker);
    }
    return found;
  }
  get readers() {
    if (!this._readers) {
      this._readers = new Map();
      for (const node of this.nodes.values())
        for (const key of this.sources(node)) {
          if (!this._readers.has(key)) this._readers.set(key, []);
          this._readers.get(key).push(node.k);
        }
    }
    return this._readers;
  }
  neighbours(key) {
    const node = this.nodes.get(key);
    return node ? [...this.sources(node), ...(this.readers.get(key) || [])] : [];
  }
  get ranks() {
    // positions in a topological order
    if (!this._ranks) {
      this._ranks = new Map();
      const seen = new Set();
      for (const start of this.nodes.keys()) {
        const stack = [[start, false]];
        while (stack.length) {
          const [key, ready] = stack.pop();
          if (ready) {
            this._ranks.set(key, this._ranks.size);
            continue;
          }
          if (seen.has(key)) continue;
          seen.add(key);
          stack.push([key, true]);
          for (const source of this.sources(this.nodes.get(key))) if (!seen.has(source)) stack.push([source, false]);
        }
      }
    }
    return this._ranks;
  }
}

class States {
  constructor(data) {
    this.passes = data.passes;
    this.cache = new Map([[-1, new State(new Map(data.first.map(node => [node.k, node])))]]);
  }
  after(position) {
    // the state after the pass at `position` of the list; -1 is the model as loaded
    while (position >= 0 && !this.passes[position].set) position -= 1;
    if (!this.cache.has(position)) {
      let from = position - 1;
      while (!this.cache.has(from)) from -= 1;
      const nodes = new Map(this.cache.get(from).nodes);
      for (let step = from + 1; step <= position; step += 1) {
        for (const key of this.passes[step].gone || []) nodes.delete(key);
        for (const node of this.passes[step].set || []) nodes.set(node.k, node);
      }
      if (this.cache.size > 4) this.cache.delete([...this.cache.keys()].find(key => key !== -1));
      this.cache.set(position, new State(nodes));
    }
    return this.cache.get(position);
  }
}

function changedKeys(pass) {
  return [...(pass.gone || []), ...(pass.set || []).map(node => node.k)];
}

// Groups of changed nodes that touch each other, before or after, in graph order.
function findPlaces(before, after, pass) {
  const keys = changedKeys(pass);
  const parent = new Map(keys.map(key => [key, key]));
  const root = key => {
    while (parent.get(key) !== key) {
      parent.set(key, parent.get(parent.get(key)));
      key = parent.get(key);
    }
    return key;
  };
  for (const state of [before, after])
    for (const key of keys) {
      const node = state.nodes.get(key);
      if (node) for (const source of state.sources(node)) if (parent.has(source)) parent.set(root(source), root(key));
    }
  const rank = key => (after.ranks.has(key) ? after.ranks.get(key) : before.ranks.get(key) || 0);
  const groups = new Map();
  for (const key of keys) {
    if (!groups.has(root(key))) groups.set(root(key), []);
    groups.get(root(key)).push(key);
  }
  const places = [];
  for (const group of groups.values()) {
    group.sort((a, b) => rank(a) - rank(b));
    for (let start = 0; start < group.length; start += SPLIT) places.push(group.slice(start, start + SPLIT));
  }
  return places.sort((a, b) => rank(a[0]) - rank(b[0]));
}

// `keys` with what lies within `hops` of them on either side.
function surroundings(before, after, keys, hops) {
  const found = new Set(keys);
  let edge = [...keys];
  for (let hop = 0; hop < hops && found.size < DRAWN; hop += 1) {
    const next = [];
    for (const key of edge)
      for (const state of [before, after])
        for (const other of state.neighbours(key))
          if (!found.has(other) && found.size < DRAWN) {
            found.add(other);
            next.push(other);
          }
    edge = next;
  }
  return found;
}

const operatorOf = node => node.o.slice(node.o.lastIndexOf(".") + 1);
const tail = (text, length) => (text.length > length ? "…" + text.slice(1 - length) : text);

// Positions for both sides: one layout, in which what stays keeps its place, or one a side where too little stays.
class Picture {
  constructor(before, after, keys) {
    const states = [before, after];
    const common = [...keys].filter(key => before.nodes.has(key) && after.nodes.has(key)).length;
    const fewest = Math.min(...states.map(state => [...keys].filter(key => state.nodes.has(key)).length));
    if (common * 3 >= keys.size || fewest < 2) this.graphs = Array(2).fill(layOut(states, keys));
    else this.graphs = states.map(state => layOut([state], new Set([...keys].filter(key => state.nodes.has(key)))));
    this.width = Math.max(...this.graphs.map(graph => graph.graph().width));
    this.height = Math.max(...this.graphs.map(graph => graph.graph().height));
  }
  left(side) {
    return (this.width - this.graphs[side].graph().width) / 2;
  }
  position(key) {
    const side = this.graphs[1].hasNode(key) ? 1 : 0;
    const { x, y } = this.graphs[side].node(key);
    return { x: x + this.left(side), y };
  }
}

function layOut(states, keys) {
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({ ranksep: 34, nodesep: 16, edgesep: 8, marginx: 20, marginy: 28 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const key of keys) {
    const names = states
      .map(state => state.nodes.get(key))
      .filter(Boolean)
      .map(operatorOf);
    const wide = Math.max(...names.map(name => name.length * 8), Math.min(key.length, NAME) * 6.1);
    graph.setNode(key, { width: Math.max(84, wide + 22), height: 40 });
  }
  for (const state of states)
    for (const key of keys) {
      const node = state.nodes.get(key);
      if (node) for (const source of state.sources(node)) if (keys.has(source)) graph.setEdge(source, key);
    }
  dagre.layout(graph);
  return graph;
}

const SVG = "http://www.w3.org/2000/svg";
function svg(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function path(points) {
  const [first, ...rest] = points;
  let text = `M${first.x},${first.y}`;
  for (let index = 0; index < rest.length - 1; index += 1) {
    const middle = { x: (rest[index].x + rest[index + 1].x) / 2, y: (rest[index].y + rest[index + 1].y) / 2 };
    text += `Q${rest[index].x},${rest[index].y} ${middle.x},${middle.y}`;
  }
  const last = rest[rest.length - 1];
  return text + `L${last.x},${last.y}`;
}

// Draws the nodes of `state` among `keys`; `mark(key)` is a class, "around" for context.
function draw(target, state, keys, picture, side, mark) {
  const graph = picture.graphs[side];
  const arrow = `${target.id}-arrow`;
  const scene = svg("g", { transform: `translate(${picture.left(side)},0)` });
  for (const key of keys) {
    const node = state.nodes.get(key);
    if (!node) continue;
    for (const source of new Set(state.sources(node))) {
      const edge = keys.has(source) && graph.edge(source, key);
      if (edge)
        scene.append(
          svg("path", {
            class: "edge",
            d: path(edge.points),
            "data-from": source,
            "data-to": key,
            "marker-end": `url(#${arrow})`,
          }),
        );
    }
  }
  for (const key of keys) {
    const node = state.nodes.get(key);
    if (!node) continue;
    const { x, y, width, height } = graph.node(key);
    const more = state.neighbours(key).some(other => !keys.has(other));
    const end = node.o === "input" || node.o === "output";
    const shape = svg("rect", { x: -width / 2, y: -height / 2, width, height, rx: end ? 20 : 7 });
    const title = svg("title", {}, `${node.o}  ${key}`);
    const name = svg("text", { y: -2 }, operatorOf(node));
    const sub = svg("text", { y: 12, class: "sub" }, tail(end ? key.replace(/^\w+ /, "") : key, NAME));
    scene.append(
      svg(
        "g",
        {
          class: `node ${mark(key)}${end ? " end" : ""}${more ? " more" : ""}`,
          "data-key": key,
          transform: `translate(${x},${y})`,
        },
        title,
        shape,
        name,
        sub,
      ),
    );
  }
  const head = svg(
    "marker",
    { id: arrow, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
    svg("path", { d: "M0,0L8,4L0,8z" }),
  );
  target.replaceChildren(svg("defs", {}, head), svg("g", { class: "scene" }, scene));
}

// Both drawings move and grow together.
class Camera {
  constructor(sides) {
    this.sides = sides;
    this.view = { x: 0, y: 0, k: 1 };
    for (const side of sides) {
      side.addEventListener(
        "wheel",
        event => {
          event.preventDefault();
          const box = side.getBoundingClientRect();
          this.zoom(Math.exp(-event.deltaY * 0.0016), event.clientX - box.left, event.clientY - box.top);
        },
        { passive: false },
      );
      side.addEventListener("pointerdown", event => {
        this.held = { x: event.clientX, y: event.clientY, far: false };
      });
      side.addEventListener("pointermove", event => {
        if (!this.held || !event.buttons) return;
        this.held.far ||= Math.hypot(event.clientX - this.held.x, event.clientY - this.held.y) > 4;
        if (!this.held.far) return;
        this.view.x += event.movementX;
        this.view.y += event.movementY;
        this.apply();
      });
    }
  }
  zoom(factor, x, y) {
    const k = Math.min(3, Math.max(0.08, this.view.k * factor));
    this.view.x = x - ((x - this.view.x) * k) / this.view.k;
    this.view.y = y - ((y - this.view.y) * k) / this.view.k;
    this.view.k = k;
    this.apply();
  }
  fit({ width, height }) {
    const box = this.sides[0].getBoundingClientRect();
    const k = Math.max(0.35, Math.min(1.15, box.width / (width || 1), (box.height - 10) / (height || 1)));
    this.view = { k, x: (box.width - width * k) / 2, y: Math.max(10, (box.height - height * k) / 2) };
    this.apply();
  }
  centre({ x, y }) {
    const box = this.sides[0].getBoundingClientRect();
    this.view.x = box.width / 2 - x * this.view.k;
    this.view.y = box.height / 2 - y * this.view.k;
    this.apply();
  }
  apply() {
    const { x, y, k } = this.view;
    for (const side of this.sides)
      side.querySelector(".scene")?.setAttribute("transform", `translate(${x},${y}) scale(${k})`);
  }
}
