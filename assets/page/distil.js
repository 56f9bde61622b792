/* The Distil tab: students that learn, their curves, their figures. The server is polled as long as the tab is in sight. */
import { download, el, decoded, onTheme, plural } from "./core.js";
import { confusionMatrices } from "./distil_confusion.js";
import { curveChart } from "./distil_curves.js";
import { runList } from "./distil_list.js";
import { comparison } from "./distil_table.js";
import { DistilRuns, isBusy, isWorking } from "./distil_runs.js";

const LOST = "The studio does not respond; start it again: the runs are saved.";

frami.distil = (element, props, server, watch) => {
  const root = element.querySelector(".frami-distil"), data = new DistilRuns();
  let poll = 0, asking = false;

  const section = (name, title, ...content) => {
    const box = el("section", name);
    box.append(el("h3", "", title), ...content);
    box.hidden = true;
    root.append(box);
    return box;
  };
  const alarm = el("p", "alarm"), spoken = el("p", "frami-spoken");
  alarm.setAttribute("role", "alert");
  spoken.setAttribute("role", "status");
  const list = runList(data, props.shareable ? server : null, props.files, { act, save, show: draw }), chart = curveChart(data), table = comparison(data, props.named), matrices = confusionMatrices(data);
  const parts = [
    [section("listing", "Runs", list.box, alarm, el("p", "note", props.note)), list],
    [section("chart", "Learning curves", ...chart.boxes), chart],
    [section("beside", "Comparison", ...table.boxes), table],
    [section("confusions", "Confusion matrices", ...matrices.boxes), matrices],
  ];
  root.append(spoken);

  // ---- polling and acting
  async function ask() {
    clearTimeout(poll);
    if (asking) { poll = setTimeout(ask, 100); return; }
    if (!data.teacher || document.hidden || !root.offsetParent) { poll = setTimeout(ask, 500); return; }
    asking = true;
    const mine = data.teacher;
    try {
      const reply = await server.runs({ teacher: mine, seen: data.stamps, known: data.value.classes.length > 0 });
      if (reply?.error) alarm.textContent = reply.error;
      else if (reply && mine === data.teacher) {
        if (alarm.textContent === LOST) alarm.textContent = "";
        data.take(reply);
        draw();
      }
    } catch { alarm.textContent = LOST; }
    asking = false;
    poll = setTimeout(ask, mine !== data.teacher ? 0 : data.runs.some(isBusy) ? 800 : 4000);
  }
  async function act(what, id) {
    try { alarm.textContent = (await server[what]({ id }))?.error || ""; } catch { alarm.textContent = "The studio does not respond."; }
    ask();
  }
  async function save(id, kind) {
    try {
      const reply = await server.file({ id, kind });
      alarm.textContent = reply?.error || "";
      if (!reply?.data) return;
      const url = URL.createObjectURL(new Blob([decoded(reply.data)]));
      download(url, reply.name);
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    } catch { alarm.textContent = "The file could not be made."; }
  }

  function draw() {
    root.dataset.runs = data.runs.length;
    for (const [box, part] of parts) {
      box.hidden = !part.any();
      if (!box.hidden) part.draw();
    }
    const busy = data.runs.find(isWorking);
    const brief = busy ? `${busy.title} is being trained, ${10 * Math.floor(10 * busy.share)}%` : data.runs.length ? `${plural(data.runs.length, "run")}, none is running` : "";
    if (spoken.textContent !== brief) spoken.textContent = brief;
  }
  function change() {
    const value = props.value || {};
    if (value.teacher !== data.teacher) { data.reset(value.teacher); draw(); }
    root.dataset.teacher = value.teacher || "";
    if (value.begun) alarm.textContent = "";
    ask();
  }
  watch("value", change);
  chart.redrawOnResize();
  onTheme(() => { chart.draw(); matrices.renew(); });
  root.curve = (id, name) => data.curve({ id }, name);
  change();
};
