/* The table of diversity and fidelity below a map: a row for each measure, a column for each layer, and beside them what
   recordings themselves get: the best that can be expected with this data. */
import { el, percent, plural } from "./core.js";

const figure = (share, x) => x === null || x === undefined ? "–" : share ? percent(x, 1) : x.toFixed(x >= 100 ? 0 : x >= 10 ? 1 : 2);
const th = (scope, title, small) => {
  const cell = el("th");
  cell.scope = scope;
  cell.append(el("b", "", title), el("small", "", small));
  return cell;
};
/* measures: name, title, share (a share of one), reading (what it says), alone (what it says without recordings). */
export function drawMeasures(box, measures, { rows = [], note = [] } = {}) {
  box.replaceChildren();
  if (!rows.length) return;
  const grid = el("table"), head = el("tr"), top = el("thead"), body = el("tbody"), scroll = el("div", "scroll"), yardsticks = rows.filter(row => row.reference);
  head.append(el("th", "what"), ...rows.map(row => {
    const cell = th("col", row.reference ? `${row.title.charAt(0).toUpperCase()}${row.title.slice(1)}` : row.title, row.measures ? plural(row.measures.samples, "clip") : "measuring…");
    if (row.reference) cell.className = "reference";
    return cell;
  }));
  top.append(head);
  for (const { name, title, share, reading } of measures) {
    const known = rows.filter(row => row.measures?.[name] !== null && row.measures?.[name] !== undefined);
    if (!known.some(row => !row.reference)) continue;    // without recordings some cannot be had
    const line = el("tr"), real = yardsticks.map(row => row.measures?.[name]).find(x => x !== null && x !== undefined), best = real === undefined ? "" : ` Real recordings themselves: ${figure(share, real)}.`;
    line.append(th("row", title, reading + best), ...rows.map(row => {
      const cell = el("td", row.reference ? "reference" : ""), range = row.measures?.intervals?.[name]?.map(x => figure(share, x));
      cell.append(el("span", "", figure(share, row.measures?.[name])));
      if (range) {
        cell.append(el("small", "", `[${range.join(", ").replaceAll("%", "")}]`));
        cell.title = `95% interval: ${range.join(" to ")}`;
      }
      return cell;
    }));
    body.append(line);
  }
  grid.append(top, body);
  scroll.append(grid);
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", "Diversity and fidelity of the clips");
  box.append(el("h3", "", "Diversity and fidelity of the clips"));
  if (yardsticks.length) box.append(el("p", "lead", yardsticks.length > 1 ? "In italics, two yardsticks: real recordings measured in the same way, those that the teacher never heard and those that it learnt from."
    : "In italics, the yardstick: real recordings, measured in the same way."));
  box.append(scroll, ...note.map(words => el("p", "", words)));
}
