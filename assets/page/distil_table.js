/* Runs and their teacher beside each other: settings in which they differ, and figures. */
import { amount, duration, el, fileSize, percent, swatch } from "./core.js";
import { colour } from "./distil_runs.js";

const tenth = share => percent(share, 1);
const milliseconds = t => `${t.toFixed(t < 10 ? 1 : 0)} ms`;
/* Figures: title, remark, name in results, words for a value, and the teacher's own. */
const COLUMNS = [
  ["Accuracy", "on held-out recordings", "accuracy", tenth, teacher => teacher.accuracy],
  ["Agreement", "with the teacher, on unseen made clips", "agreement", tenth],
  ["Parameters", "", "parameters", amount, teacher => teacher.parameters],
  ["MACs", "for a clip", "macs", amount, teacher => teacher.macs],
  ["Latency", "on the CPU, for a clip", "latency_ms", milliseconds, teacher => teacher.latency_ms],
  ["File", "safetensors", "bytes", fileSize, teacher => teacher.bytes],
  ["Time", "spent", "seconds", duration],
  ["Clips", "made", "clips", n => n.toLocaleString("en")],
];
const say = (value, words) => value === null || value === undefined ? "–" : words(value);
const setting = (run, name) => run.settings[name] ?? "–";
const cell = (tag, text, small) => {
  const made = el(tag);
  made.append(el("span", "", text));
  if (small) made.append(el("small", "", small));
  return made;
};
const tableRow = (...cells) => {
  const row = el("tr");
  row.append(...cells);
  return row;
};

/* named: titles of the settings that are named where all runs share them. */
export function comparison(data, named) {
  const scroll = el("div", "scroll"), table = el("table"), same = el("p", "reading");
  scroll.tabIndex = 0;
  scroll.append(table);
  function draw() {
    const runs = data.shown, recordings = runs.some(run => data.last(run, "accuracy") !== null);
    const names = [...new Set(runs.flatMap(run => Object.keys(run.settings)))];
    const differing = names.filter(name => new Set(runs.map(run => setting(run, name))).size > 1);
    const columns = recordings ? COLUMNS : COLUMNS.slice(1), head = el("thead"), body = el("tbody");
    head.append(tableRow(cell("th", "Run"), ...differing.map(name => cell("th", name)), ...columns.map(([title, remark]) => cell("th", title, remark))));
    const teacher = tableRow(cell("th", "The teacher", data.value.title), ...differing.map(() => cell("td", "")),
      ...columns.map(([, , , words, own]) => cell("td", own ? say(own(data.value), words) : "")));
    teacher.className = "reference";
    body.append(teacher, ...runs.map(run => {
      const title = cell("th", run.title, run.status === "finished" ? "" : run.status);
      title.firstChild.prepend(swatch(colour(run)));
      const row = tableRow(title, ...differing.map(name => cell("td", setting(run, name))), ...columns.map(([, , name, words]) => cell("td", say(data.last(run, name), words))));
      row.dataset.id = run.id;
      return row;
    }));
    table.replaceChildren(head, body);
    const alike = names.filter(name => !differing.includes(name) && named.includes(name));
    same.textContent = (recordings ? "" : "No recordings are at hand here, so accuracy is not measured: agreement says how often a student predicts the same class as its teacher. ") +
      (runs.length > 1 && alike.length ? `The same in all: ${alike.map(name => `${name.toLowerCase()} ${runs[0].settings[name]}`).join(", ")}.` : "");
  }
  const any = () => data.shown.some(run => Object.keys(data.result(run)).length || data.last(run, "agreement") !== null);
  return { boxes: [scroll, same], draw, any };
}
