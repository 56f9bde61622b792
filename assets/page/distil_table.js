/* Runs and their teacher beside each other: settings in which they differ, and figures. */
import { amount, counted, duration, el, fileSize, percent } from "./core.js";
import { isBusy, runMark, runName, SHARES } from "./distil_runs.js";

const tenth = share => percent(share, 1);
const milliseconds = t => `${t.toFixed(t < 10 ? 1 : 0)} ms`;
/* Figures: title, remark, name in results, words for a value, and the teacher's own. */
const COLUMNS = [
  ["Accuracy", "on held-out recordings", "accuracy", tenth, teacher => teacher.accuracy],
  ["Agreement", "with the teacher, on unseen made clips", "agreement", tenth],
  ["Parameters", "", "parameters", amount, teacher => teacher.parameters],
  ["MACs", "for a clip", "macs", amount, teacher => teacher.macs],
  ["Latency", "on the CPU, one thread, for a clip", "latency_ms", milliseconds, teacher => teacher.latency_ms],
  ["File", "safetensors", "bytes", fileSize, teacher => teacher.bytes],
  ["Time", "spent", "seconds", duration],
  ["Clips", "made", "clips", counted],
];
/* What a cell says of a run, and a remark below it. Latency counts where it was measured while no run computed. */
function runFigure(data, run, name, words) {
  if (name === "latency_ms" && !isBusy(run)) {
    if (run.idle) return [words(run.idle.latency_ms)];
    if (run.bundled) return ["–", "measured when idle"];
    return [say(data.last(run, name), words), data.last(run, name) === null ? "" : "while busy; measured again when idle"];
  }
  return [SHARES.includes(name) ? data.share(run, name) || "–" : say(data.last(run, name), words)];
}
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
    const runs = data.shown, own = runs.filter(run => !run.bundled), compared = own.length ? own : runs, recordings = runs.some(run => data.last(run, "accuracy") !== null);
    const names = [...new Set(compared.flatMap(run => Object.keys(run.settings)))];
    const differing = names.filter(name => new Set(compared.map(run => setting(run, name))).size > 1);
    const columns = recordings ? COLUMNS : COLUMNS.slice(1), head = el("thead"), body = el("tbody");
    head.append(tableRow(cell("th", "Run"), ...differing.map(name => cell("th", name)), ...columns.map(([title, remark]) => cell("th", title, remark))));
    const teacher = tableRow(cell("th", "The teacher", data.value.title), ...differing.map(() => cell("td", "")),
      ...columns.map(([, , , words, its]) => cell("td", its ? say(its(data.value), words) : "")));
    teacher.className = "reference";
    body.append(teacher, ...runs.map(run => {
      const title = cell("th", runName(run), run.status === "finished" ? "" : run.status);
      title.firstChild.prepend(runMark(run));
      const row = tableRow(title, ...differing.map(name => cell("td", setting(run, name))), ...columns.map(([, , name, words]) => cell("td", ...runFigure(data, run, name, words))));
      row.dataset.id = run.id;
      return row;
    }));
    table.replaceChildren(head, body);
    const alike = names.filter(name => !differing.includes(name) && named.includes(name));
    same.textContent = (recordings ? "" : "No recordings are at hand here, so accuracy is not measured: agreement says how often a student predicts the same class as its teacher. ") +
      (own.length > 1 && alike.length ? `The same in all: ${alike.map(name => `${name.toLowerCase()} ${own[0].settings[name]}`).join(", ")}.` : "");
  }
  const any = () => data.shown.some(run => Object.keys(data.result(run)).length || data.last(run, "agreement") !== null);
  return { boxes: [scroll, same], draw, any };
}
