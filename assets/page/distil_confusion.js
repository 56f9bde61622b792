/* Confusion matrices side by side: of few classes as a table of numbers, of many as a heat map with lists below it. */
import { classFilter, inOrder, MANY } from "./classes.js";
import { counted, el, percent } from "./core.js";
import { confusionLists } from "./distil_confusion_lists.js";
import { confusionMap } from "./distil_confusion_map.js";
import { colour, runMark, runName } from "./distil_runs.js";

const ROWS = { real: "true classes of held-out recordings", made: "classes that the teacher predicts for made clips that the student did not learn from" };

/* What a run's result holds, as it is looked at. cells: { row, column, clips }; rows: of each class its { clips, right }. */
function read({ size, cells }) {
  const found = [], rows = Array.from({ length: size }, () => ({ clips: 0, right: 0 }));
  for (let k = 0; k < cells.length; k += 2) {
    const row = Math.floor(cells[k] / size), column = cells[k] % size, clips = cells[k + 1];
    found.push({ row, column, clips });
    rows[row].clips += clips;
    if (row === column) rows[row].right = clips;
  }
  return { size, cells: found, rows };
}
/* Few classes: a cell each. */
function numberGrid({ size, cells, rows }, name) {
  const box = el("div", "grid"), clips = new Map(cells.map(one => [one.row * size + one.column, one.clips]));
  box.style.setProperty("--classes", size);
  rows.forEach(({ clips: total }, i) => {
    const label = el("span", "name", name(i));
    label.title = name(i);
    box.append(label, ...rows.map((_, j) => {
      const n = clips.get(i * size + j) || 0, one = el("span", i === j ? "cell right" : "cell", n || "");
      one.style.setProperty("--share", total ? `${Math.round(100 * n / total)}%` : "0%");
      one.classList.toggle("strong", n > .5 * total);
      one.title = `${name(i)} classified as ${name(j)}: ${n} of ${total}`;
      return one;
    }));
  });
  return box;
}

export function confusionMatrices(data) {
  const filter = classFilter("Find a class", apply), box = el("div", "matrices"), key = el("p", "reading");
  let parts = [];
  const having = () => data.shown.filter(run => data.result(run).confusion?.cells.length);
  const name = k => data.value.classes[k] ?? String(k);

  function matrix(run) {
    const figure = el("figure"), caption = el("figcaption"), found = read(data.result(run).confusion), many = found.size > MANY;
    const right = found.rows.reduce((sum, row) => sum + row.right, 0), total = found.rows.reduce((sum, row) => sum + row.clips, 0);
    caption.append(runMark(run), el("span", "", runName(run)), el("small", "", `${counted(right)} of ${counted(total)}: ${percent(right / total, 1)}`));
    figure.style.setProperty("--frami-run", colour(run));
    figure.append(caption);
    if (many) {
      const order = inOrder(found.size, data.value.categories), map = confusionMap(found, name, order, run);
      parts.push(map);
      figure.append(map.box);
    } else figure.append(numberGrid(found, name));
    const lists = confusionLists(found, name);
    parts.push(lists);
    figure.append(lists.box);
    return figure;
  }
  function apply() {
    parts.forEach(part => part.draw(filter.passes));
    filter.say(data.value.classes.filter((_, i) => filter.passes(i)).length);
  }
  function draw() {
    const runs = having(), stamp = JSON.stringify([data.teacher, runs.map(run => [run.id, run.stamp, runName(run)])]), many = data.value.classes.length > MANY;
    if (box.dataset.stamp === stamp) return;
    box.dataset.stamp = stamp;
    box.classList.toggle("many", many);
    filter.offer(data.value.classes, data.value.categories);
    parts = [];
    box.replaceChildren(...runs.map(matrix));
    const rows = [...new Set(runs.map(run => ROWS[data.result(run).confusion_of] || "classes"))];
    key.textContent = `Rows: ${rows.join(", or ")}. Columns, in the same order: classes that the student predicts.${many ? " Point at a cell or tap it, or walk with the arrow keys." : ""}`;
    apply();
  }
  return { boxes: [filter.box, box, key], draw, any: () => having().length > 0, renew: () => { if (parts.length) apply(); } };
}
