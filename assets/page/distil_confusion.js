/* Confusion matrices side by side. */
import { el, swatch } from "./core.js";
import { colour } from "./distil_runs.js";

const ROWS = { real: "true classes of held-out recordings", made: "classes that the teacher predicts for made clips" };

export function confusionMatrices(data) {
  const box = el("div", "matrices"), key = el("p", "reading");
  const having = () => data.shown.filter(run => data.result(run).confusion?.length);
  function matrix(run) {
    const figure = el("figure"), caption = el("figcaption"), grid = el("div", "grid"), rows = data.result(run).confusion, name = k => data.value.classes[k] ?? k;
    caption.append(swatch(colour(run)), el("span", "", run.title));
    figure.style.setProperty("--frami-run", colour(run));
    grid.style.setProperty("--classes", rows.length);
    rows.forEach((row, i) => {
      const total = row.reduce((a, b) => a + b, 0);
      grid.append(el("span", "name", name(i)), ...row.map((n, j) => {
        const one = el("span", i === j ? "cell right" : "cell", n && rows.length <= 12 ? n : "");
        one.style.setProperty("--share", total ? `${Math.round(100 * n / total)}%` : "0%");
        one.classList.toggle("strong", n > .5 * total);
        one.title = `${name(i)} classified as ${name(j)}: ${n} of ${total}`;
        return one;
      }));
    });
    figure.append(caption, grid);
    return figure;
  }
  function draw() {
    const runs = having(), stamp = JSON.stringify(runs.map(run => [run.id, run.stamp]));
    if (box.dataset.stamp === stamp) return;
    box.dataset.stamp = stamp;
    box.replaceChildren(...runs.map(matrix));
    const rows = [...new Set(runs.map(run => ROWS[data.result(run).confusion_of] || "classes"))];
    key.textContent = `Rows: ${rows.join(", or ")}. Columns, in the same order: classes that the student predicts.`;
  }
  return { boxes: [box, key], draw, any: () => having().length > 0 };
}
