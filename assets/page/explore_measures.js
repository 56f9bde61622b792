/* The table of diversity and fidelity below a map. */
import { el, percent } from "./core.js";

const figure = (share, x) => x === null || x === undefined ? "–" : share ? percent(x) : x.toFixed(x >= 100 ? 0 : x >= 10 ? 1 : 2);
const th = (scope, title, small) => {
  const cell = el("th");
  cell.scope = scope;
  cell.append(el("b", "", title), el("small", "", small));
  return cell;
};

/* columns: name, title, share (a share of one), reading (how to read it); rows: title and measures of each layer. */
export function drawMeasures(box, columns, { rows = [], note = [] } = {}) {
  box.replaceChildren();
  if (!rows.length) return;
  const grid = el("table"), head = el("tr"), top = el("thead"), body = el("tbody"), scroll = el("div", "scroll");
  head.append(el("th"), ...columns.map(column => th("col", column.title, column.reading)));
  top.append(head);
  for (const row of rows) {
    const line = el("tr", row.reference ? "reference" : ""), measures = row.measures || { intervals: {} };
    line.append(th("row", row.title, row.measures ? `${measures.samples} clips` : "measuring…"), ...columns.map(({ name, share }) => {
      const cell = el("td"), range = measures.intervals[name]?.map(x => figure(share, x));
      cell.append(el("span", "", figure(share, measures[name])));
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
  box.append(el("h3", "", "Diversity and fidelity of the clips"), scroll, ...note.map(words => el("p", "", words)));
}
