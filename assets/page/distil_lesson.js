/* A student that learns before one's eyes: its curve on recordings, and the clips that it learns from, to be heard. */
import { button, counted, duration, el, percent } from "./core.js";
import { runs } from "./distil_server.js";
import { plotCurves } from "./distil_plot.js";
import { colour, dash, isBusy, isWorking, SHARES } from "./distil_runs.js";
import { play } from "./sound.js";
import { paint } from "./spectrogram.js";

const ON = {
  accuracy: n => `of ${n ? `${counted(n)} recordings` : "recordings"} held out from training are recognised`,
  agreement: n => `of ${n ? `${counted(n)} made clips` : "made clips"} that it did not learn from: it predicts what its teacher predicts`,
};

/* again, compare: what buttons at the end do; tab: element of the tab where a student is tried. */
export function lesson(server, { again, compare, tab }) {
  const box = el("section", "lesson"), head = el("div", "head"), title = el("h3"), status = el("p", "status"), figure = el("p", "big");
  const stage = el("div", "stage"), canvas = el("canvas"), tiles = el("div", "tiles"), heard = el("h4"), after = el("div", "after"), why = el("p", "reading why"), left = el("div", "course"), right = el("div", "clips");
  const panel = { box, draw, plot, forget, expect, onStop: () => {} };
  let run = null, loaded = null, expected = null;
  const stop = button("stop", "Stop", () => panel.onStop(run.id));
  const tryIt = button("try-it", "Try it", () => tryStudent(tab, run.id));
  box.hidden = true;
  canvas.setAttribute("role", "img");
  head.append(title, status, stop);
  stage.append(canvas);
  after.append(tryIt, button("again", "Teach another", again), button("more", "Compare it", compare));
  left.append(figure, stage, why, after);
  right.append(heard, tiles);
  box.append(head, left, right);

  const metric = () => SHARES.find(name => runs.curve(run, name).length) || null;
  function draw(next) {
    run = next && (!expected || next.id === expected) ? next : null;
    if (run) expected = null;
    box.hidden = !run && !expected;
    if (box.hidden) return;
    load();
    const busy = !run || isBusy(run), name = run && metric();
    box.dataset.status = run ? run.status : "waiting";
    box.dataset.id = run?.id || "";
    title.textContent = busy ? "Your student learns" : run.status === "finished" ? "Your student" : "Your student, not finished";
    status.textContent = !run ? "starting…" : words();
    stop.hidden = !run || !(isWorking(run) || run.status === "waiting") || !run.own;
    after.hidden = !run || run.status !== "finished" || !run.own;
    figure.replaceChildren(...name ? [el("b", "", runs.share(run, name)), el("span", "", (ON[name] || ON.agreement)(runs.clips(run, name)))]
      : [el("span", "", busy ? "The curve begins with the first step of learning, in some seconds." : "")]);
    why.textContent = after.hidden ? "" : compared(name);
    tiles.classList.toggle("learning", Boolean(run && run.status === "running"));
    plot();
  }
  function words() {
    if (run.status === "running") return run.left === null || run.left === undefined ? "starting…" : `${duration(run.left)} left`;
    return run.status === "starting" && !run.where ? "starting: its process takes some seconds" : runs.status(run);
  }
  /* Why it has less than the student that ships. */
  function compared(name) {
    const other = runs.runs.find(one => one.bundled), theirs = other && runs.last(other, name), seconds = other && runs.last(other, "seconds"), own = runs.last(run, name), time = runs.result(run).seconds;
    if (!theirs || !own || !seconds || !time || own >= theirs || seconds < 2 * time) return "";
    return `It learnt for ${duration(time)} from clips that were ready. The bundled student learnt for ${duration(seconds)}, most of it from new clips, and has ${percent(theirs, 1)}: with more time, under “Compare it”, yours comes closer.`;
  }
  function plot() {
    if (box.hidden) return;
    const name = run && metric(), { accuracy } = runs.value, bundled = runs.runs.find(one => one.bundled), levels = [];
    if (name === "accuracy" || !name) {
      const own = bundled && runs.last(bundled, "accuracy");
      if (accuracy) levels.push({ value: accuracy, words: `the teacher: ${percent(accuracy, 1)}` });
      if (own && name) levels.push({ value: own, words: `the bundled student: ${percent(own, 1)}, after ${duration(runs.last(bundled, "seconds"))}`, pattern: [2, 3] });
    }
    const lines = name ? [{ points: runs.curve(run, name), colour: colour(run), dash: dash(run) }] : [];
    plotCurves(canvas, { lines, share: true, end: 45, levels });
    canvas.setAttribute("aria-label", name ? `${runs.share(run, name)} ${ON[name] ? ON[name](0) : ""}` : "No point yet");
  }
  async function load() {
    const teacher = runs.teacher;
    if (loaded === teacher) return;
    loaded = teacher;
    const found = await server.learnt({ teacher }).catch(() => null);
    if (!found || found.error || teacher !== runs.teacher) { loaded = null; return; }
    heard.textContent = `What it learns from: ${found.of} made clips. Click one to hear it.`;
    tiles.replaceChildren(...found.clips.map(clip => clipButton(clip, found.axis, server)));
  }
  function forget() { expected = loaded = run = null; tiles.replaceChildren(); box.hidden = true; }
  function expect(id) { expected = id; run = null; draw(null); }
  return panel;
}
/* A clip as a small button: its picture, its class. */
function clipButton(clip, axis, server) {
  const made = button("frami-tile", undefined, () => play(clip, server), `${clip.target}, a made clip. Play`), canvas = el("canvas");
  made.replaceChildren(canvas, el("span", "playhead"), el("span", "name", clip.target));
  made.dataset.id = clip.id;
  made.title = clip.target;
  paint(canvas, clip, axis);
  return made;
}
/* Open the tab where students are tried, with this one ticked. */
function tryStudent(tab, id) {
  document.querySelector(`[role="tab"]#${tab}-button`)?.click();
  const until = Date.now() + 60_000, look = () => {
    const box = document.querySelector(`#try-students input[name="run:${id}"]`);
    if (!box) { if (Date.now() < until) setTimeout(look, 200); return; }
    if (!box.checked) { box.click(); setTimeout(look, 1000); return; }    // once more: the tab that opens may renew its ticks
    box.closest("label").scrollIntoView({ block: "center" });
  };
  look();
}
