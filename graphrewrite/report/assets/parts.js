"use strict";
// Parts of the page that stand alone: texts, and lists of any length.

const $ = id => document.getElementById(id);
const ROW = 24;

function h(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties || {});
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}

const count = number => number.toLocaleString("en-US");
const signed = number => (number > 0 ? "+" : "−") + count(Math.abs(number));
function bytes(number) {
  for (const [unit, size] of [
    ["GB", 1e9],
    ["MB", 1e6],
    ["kB", 1e3],
  ])
    if (number >= size) return `${(number / size).toFixed(1)} ${unit}`;
  return `${count(number)} bytes`;
}

// Errors arrive as [passed, problem, max abs, largest of the reference, SQNR, share that differs, cosine].
const relative = error => (error[2] === null ? Infinity : error[2] / Math.max(1, error[3] || 0));
function errorText(error) {
  if (error[2] === 0) return "none";
  if (error[2] === null) return error[1];
  return (
    `max abs ${error[2] < 0.001 ? error[2].toExponential(1) : error[2].toPrecision(3)}` +
    (error[4] === null ? "" : `, SQNR ${error[4].toFixed(1)} dB`)
  );
}
const worst = (errors, column) =>
  errors
    .map(item => item[column])
    .filter(Boolean)
    .sort((a, b) => relative(b) - relative(a))[0];

// A list that holds only the rows in sight.
class Rows {
  constructor(box, render, pick) {
    this.box = box;
    this.render = render;
    this.rows = h("div", { className: "rows" });
    box.replaceChildren(this.rows);
    box.onscroll = () => this.show();
    box.onclick = event => {
      const row = event.target.closest(".row");
      if (row) pick(this.items[Number(row.dataset.index)], Number(row.dataset.index));
    };
    this.set([]);
  }
  set(items, picked = -1) {
    this.items = items;
    this.picked = picked;
    this.rows.style.height = `${items.length * ROW}px`;
    this.box.scrollTop = 0;
    this.show();
  }
  pick(index) {
    this.picked = index;
    const top = index * ROW;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top + ROW > this.box.scrollTop + this.box.clientHeight)
      this.box.scrollTop = top + ROW - this.box.clientHeight;
    this.show();
  }
  show() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW) - 4);
    const last = Math.min(this.items.length, first + Math.ceil((this.box.clientHeight || 400) / ROW) + 8);
    const shown = [];
    for (let index = first; index < last; index += 1) {
      const row = h(
        "div",
        { className: index === this.picked ? "row picked" : "row" },
        ...this.render(this.items[index]),
      );
      row.style.top = `${index * ROW}px`;
      row.dataset.index = index;
      row.setAttribute("role", "option");
      shown.push(row);
    }
    this.rows.replaceChildren(...shown);
  }
}

const operandText = operand =>
  operand === null
    ? "-"
    : typeof operand === "string"
      ? `%${operand}`
      : "c" in operand
        ? operand.c
        : `%${operand.n}:${operand.t}`;
function nodeLine(node) {
  if (node.o === "input") return `input %${node.r[0][0]}:${node.r[0][1]}`;
  if (node.o === "output") return `output %${node.i[0]}:${node.t}`;
  const attributes = node.a ? ` {${node.a.map(([name, text]) => `${name}=${text}`).join(", ")}}` : "";
  return `${node.r.map(result => `%${result[0]}:${result[1]}`).join(", ")} = ${node.o}(${(node.i || []).map(operandText).join(", ")})${attributes}`;
}
