/* Below a confusion matrix: which classes are confused most often, and how each is recognised, the worst first. */
import { el, percent } from "./core.js";

const CONFUSED = 8, WORST = 10;    // rows that are shown at first

/* found: cells and rows of a matrix (see distil_confusion.js); name(i): of a class. */
export function confusionLists({ cells, rows }, name) {
  const box = el("div", "lists"), confused = el("ol"), worst = el("div", "bars"), all = el("details"), summary = el("summary"), rest = el("div", "bars"), none = el("p", "reading");
  const wrong = cells.filter(one => one.row !== one.column).toSorted((a, b) => b.clips - a.clips || a.row - b.row || a.column - b.column);
  const share = i => rows[i].right / rows[i].clips;
  const sorted = rows.map((_, i) => i).filter(i => rows[i].clips).toSorted((a, b) => share(a) - share(b) || rows[b].clips - rows[a].clips || a - b);
  const left = el("section"), right = el("section");
  let hidden = [];
  left.append(el("h4", "", "Most often confused"), confused);
  right.append(el("h4", "", "Recognised, by class"), worst, all, none);
  all.append(summary, rest);
  box.append(left, right);

  function bar(i) {
    const row = el("div", "row"), label = el("span", "label", name(i)), track = el("div", "track"), fill = el("div");
    fill.style.width = `${100 * share(i)}%`;
    track.append(fill);
    row.title = `${name(i)}: ${rows[i].right} of ${rows[i].clips} clips`;
    row.append(label, track, el("span", "value", percent(share(i))), el("small", "", `${rows[i].right}/${rows[i].clips}`));
    return row;
  }
  const unfold = () => rest.replaceChildren(...all.open ? hidden.map(bar) : []);
  all.addEventListener("toggle", unfold);
  function draw(passes) {
    const some = sorted.filter(passes), shown = wrong.filter(one => passes(one.row)).slice(0, CONFUSED);
    confused.replaceChildren(...shown.map(({ row, column, clips }) => {
      const line = el("li"), words = el("span");
      words.append(el("b", "", name(row)), " as ", el("b", "", name(column)));
      line.append(words, el("small", "", `${clips} of ${rows[row].clips}`));
      return line;
    }));
    if (!shown.length) confused.append(el("li", "none", "none"));
    worst.replaceChildren(...some.slice(0, WORST).map(bar));
    all.hidden = some.length <= WORST;
    summary.textContent = `${some.length - WORST} more`;
    hidden = some.slice(WORST);
    unfold();
    const without = rows.filter((row, i) => !row.clips && passes(i)).length;
    none.textContent = without ? `Without a clip here: ${without} of the classes.` : "";
  }
  return { box, draw };
}
