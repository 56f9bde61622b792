/* The comparison of the Distil tab: all students that learn, their curves, their figures. */
import { decoded, download, el, NO_ANSWER, onTheme, percent, plural } from "./core.js";
import { confusionMatrices } from "./distil_confusion.js";
import { curveChart } from "./distil_curves.js";
import { actOn, askRuns, chooseTeacher, followRuns, runs } from "./distil_server.js";
import { runList } from "./distil_list.js";
import { studentPair } from "./distil_pair.js";
import { isWorking, runName } from "./distil_runs.js";
import { comparison } from "./distil_table.js";

frami.distil = (element, props, server, watch) => {
  const root = element.querySelector(".frami-distil"), data = runs;
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
  const list = runList(data, props.shareable ? server : null, props.files, { act: (what, id) => actOn(server, what, id, alarm), save, show: draw });
  const chart = curveChart(data), table = comparison(data, props.named), pair = studentPair(data, server), matrices = confusionMatrices(data);
  const parts = [
    [section("listing", "Runs", list.box, alarm, el("p", "note", props.note)), list],
    [section("chart", "Learning curves", ...chart.boxes), chart],
    [section("beside", "Comparison", ...table.boxes), table],
    [section("pair", "Two students: A and B", ...pair.boxes), pair],
    [section("confusions", "Confusion matrices", ...matrices.boxes), matrices],
  ];
  root.append(spoken);

  async function save(id, kind) {
    try {
      const reply = await server.file({ id, kind });
      alarm.textContent = reply?.error || "";
      if (!reply?.data) return;
      const url = URL.createObjectURL(new Blob([decoded(reply.data)]));
      download(url, reply.name);
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    } catch { alarm.textContent = NO_ANSWER; }
  }
  function draw() {
    root.dataset.runs = data.own.length;
    for (const [box, part] of parts) {
      box.hidden = !part.any();
      if (!box.hidden) part.draw();
    }
    const busy = data.runs.find(isWorking);
    const brief = busy ? `${runName(busy)} is being trained, ${percent(Math.floor(10 * busy.share) / 10)}` : data.own.length ? `${plural(data.own.length, "run")}, none is at work` : "";
    if (spoken.textContent !== brief) spoken.textContent = brief;
  }
  function change() {
    const value = props.value || {};
    root.dataset.teacher = value.teacher || "";
    if (value.begun) alarm.textContent = "";
    if (value.begun && value.begun !== root.dataset.begun) {
      root.dataset.begun = value.begun;
      setTimeout(() => { if (root.offsetParent) root.scrollIntoView({ block: "start", behavior: "smooth" }); }, 400);
    }
    chooseTeacher(value.teacher || null);
  }
  followRuns({ root, server, draw, alarm });
  watch("value", change);
  chart.redrawOnResize();
  onTheme(() => { chart.draw(); matrices.renew(); });
  root.curve = (id, name) => data.curve({ id }, name);
  change();
  draw();
  askRuns();
};
