/* A confusion matrix of many classes on one canvas: categories side by side, the cell under the pointer or the arrow keys
   in words. */
import { context, css, el, onPhone, percent } from "./core.js";
import { runName } from "./distil_runs.js";

/* found: cells and rows of a matrix (see distil_confusion.js); name(i): of a class; order: [[category or null, classes]]. */
export function confusionMap({ size, cells, rows }, name, order, run) {
  const box = el("div", "heat"), canvas = el("canvas"), tip = el("div", "tip"), spoken = el("p", "frami-spoken");
  const classes = order.flatMap(([, part]) => part), place = new Map(classes.map((label, i) => [label, i]));
  const clips = new Map(cells.map(one => [one.row * size + one.column, one.clips]));
  let at = null, passes = null, cell = 1, left = 0;
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", `Confusion matrix of ${size} classes, ${runName(run)}. Up and down lead to the next class, left and right to what else it was classified as.`);
  spoken.setAttribute("aria-live", "polite");
  tip.hidden = true;
  box.append(canvas, tip, spoken);

  function paint() {
    const width = box.clientWidth;
    if (!width || !passes) return;
    const named = order.length > 1, ink = css(box, "--body-text-color-subdued"), wide = named ? onPhone() ? 78 : 128 : 0;
    const side = Math.min(width - wide, 620);
    [left, cell] = [wide, side / size];
    canvas.style.height = `${side}px`;
    canvas.style.width = `${wide + side}px`;
    const c = context(canvas, wide + side, side), dot = Math.max(cell - (cell > 6 ? 1 : 0), 1.6);
    c.fillStyle = css(box, "--background-fill-secondary");
    c.fillRect(left, 0, side, side);
    // the rarer cells last, so that where cells are smaller than a pixel they are not covered by the diagonal
    c.fillStyle = css(canvas, "color");
    const least = size > 100 ? .45 : .25;
    for (const one of cells.toSorted((a, b) => (a.row === a.column ? 0 : 1) - (b.row === b.column ? 0 : 1))) {
      c.globalAlpha = (passes(one.row) ? 1 : .12) * (least + (1 - least) * one.clips / rows[one.row].clips);
      c.fillRect(left + place.get(one.column) * cell, place.get(one.row) * cell, dot, dot);
    }
    c.globalAlpha = 1;
    if (named) drawCategories(c, side, ink);
    c.strokeStyle = ink; c.lineWidth = 1;
    c.strokeRect(left + .5, .5, side - 1, side - 1);
    if (at) {
      const [x, y] = [left + place.get(at[1]) * cell, place.get(at[0]) * cell];
      c.strokeStyle = css(box, "--body-text-color"); c.lineWidth = 2;
      c.strokeRect(x - 1.5, y - 1.5, dot + 3, dot + 3);
    }
  }
  function drawCategories(c, side, ink) {
    let first = 0;
    Object.assign(c, { font: "12px 'IBM Plex Sans', system-ui, sans-serif", textAlign: "right", textBaseline: "middle", lineWidth: 1, strokeStyle: css(box, "--frami-line") });
    for (const [title, part] of order) {
      const y = first * cell, middle = y + part.length * cell / 2;
      if (first) { c.beginPath(); c.moveTo(0, y); c.lineTo(left + side, y); c.moveTo(left + y, 0); c.lineTo(left + y, side); c.stroke(); }
      c.fillStyle = ink;
      const lines = wrapped(c, title, left - 8);
      lines.forEach((line, k) => c.fillText(line, left - 8, middle + 15 * (k - (lines.length - 1) / 2), left - 8));
      first += part.length;
    }
  }
  function say(row, column, from) {
    const n = clips.get(row * size + column) || 0, total = rows[row].clips;
    at = [row, column];
    const what = row === column ? `${name(row)}, recognised` : `${name(row)} classified as ${name(column)}`;
    const words = `${n} of ${total}${total ? `, ${percent(n / total)}` : ""}`;
    tip.replaceChildren(el("b", "", what), el("span", "", words));
    tip.hidden = false;
    if (from === "keys") spoken.textContent = `${what}: ${words}`;
    paint();
    const x = left + place.get(column) * cell, y = place.get(row) * cell, half = tip.offsetWidth / 2 + 2;
    tip.style.left = `${Math.min(Math.max(x, half), Math.max(half, box.clientWidth - half))}px`;
    tip.style.top = `${y < 70 ? y + cell + 12 : y - tip.offsetHeight - 10}px`;
  }
  function quiet() { at = null; tip.hidden = true; paint(); }

  function point(event) {
    const area = canvas.getBoundingClientRect();
    const [column, row] = [event.clientX - area.left - left, event.clientY - area.top].map(d => Math.floor(d / cell));
    if (classes[row] === undefined || classes[column] === undefined) quiet();
    else say(classes[row], classes[column], "pointer");
  }
  canvas.addEventListener("pointerdown", point);    // a finger does not move before
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerleave", event => { if (event.pointerType !== "touch") quiet(); });
  canvas.addEventListener("blur", quiet);
  canvas.addEventListener("keydown", event => {
    const down = { ArrowDown: 1, ArrowUp: -1 }[event.key], aside = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!down && !aside) { if (event.key === "Escape") quiet(); return; }
    event.preventDefault();
    const having = classes.filter(label => rows[label].clips && passes(label)), here = having.indexOf(at?.[0]);
    if (down || here < 0) {
      const row = having[here < 0 ? 0 : Math.min(having.length - 1, Math.max(0, here + down))];
      if (row !== undefined) say(row, row, "keys");
      return;
    }
    const along = cells.filter(one => one.row === at[0]).map(one => place.get(one.column)).toSorted((a, b) => a - b), now = place.get(at[1]);
    const next = aside > 0 ? along.find(k => k > now) : along.findLast(k => k < now);
    if (next !== undefined) say(at[0], classes[next], "keys");
  });
  new ResizeObserver(paint).observe(box);
  return { box, draw: next => { passes = next; paint(); } };
}
/* A title in lines of at most this width. */
function wrapped(c, title, width) {
  const lines = [""];
  for (const word of title.split(" ")) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (lines.at(-1) && c.measureText(longer).width > width) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines;
}
