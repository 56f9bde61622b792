/* The first view of the Distil tab: the bundled student's curve, the button that teaches another, and its lesson. */
import { teacherHere } from "./address.js";
import { button, duration, el, onTheme, percent, plural } from "./core.js";
import { actOn, askRuns, chooseTeacher, followRuns, runs } from "./distil_server.js";
import { lesson } from "./distil_lesson.js";
import { plotCurves } from "./distil_plot.js";
import { colour, isBusy } from "./distil_runs.js";

const DRAWN_IN = 1600;    // milliseconds in which the curve is drawn
const PARTS = { 2: "half", 3: "a third of", 4: "a quarter of", 5: "a fifth of", 6: "a sixth of", 7: "a seventh of", 8: "an eighth of", 9: "a ninth of", 10: "a tenth of" };
/* Whether the comparison is open, noted where no component that is drawn anew loses it. It opens by hand, and once for
   a run that somebody has shared, which lies in it. */
const noted = document.documentElement.dataset;
const bundledRun = () => runs.runs.find(run => run.bundled);
const unfolded = () => noted.compared === "true";
const isStill = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/* seconds: of the lesson; tried: element of the tab where a student is tried. */
frami.taught = (element, props, server, watch, trigger) => {
  const root = element.querySelector(".frami-taught"), alarm = el("p", "alarm"), spoken = el("p", "frami-spoken");
  const hero = el("div", "hero"), said = el("div", "said"), title = el("h2"), facts = el("p", "facts"), stage = el("div", "stage"), canvas = el("canvas"), caption = el("p", "reading");
  const minutes = Math.max(1, Math.round(props.seconds / 60));
  const teach = button("teach", `Teach one yourself (${minutes} min)`, () => { begun = null; waiting = true; trigger("select", {}); drawButton(); setTimeout(() => { waiting = false; drawButton(); }, 8000); });
  const hint = el("p", "reading", "It learns from sounds made out of the teacher's weights, before your eyes.");
  const fold = button("fold", "Compare methods", () => unfold(!unfolded())), panel = lesson(server, { again: () => teach.click(), compare: () => unfold(true), tab: props.tried });
  let begun = null, waiting = false, shownShare = null, drawnFor = null;
  alarm.setAttribute("role", "alert");
  spoken.setAttribute("role", "status");
  canvas.setAttribute("role", "img");
  fold.setAttribute("aria-controls", "distil-compare");
  stage.append(canvas, caption);
  said.append(title, facts, teach, hint);
  hero.append(said, stage);
  root.append(hero, alarm, panel.box, fold, spoken);

  function unfold(open, byHand = true) {
    if (open || byHand) noted.compared = String(open);
    fold.setAttribute("aria-expanded", String(open));
    root.dataset.folded = String(!open);
    if (open && byHand) requestAnimationFrame(() => fold.scrollIntoView({ block: "start", behavior: isStill() ? "auto" : "smooth" }));
    askRuns();
  }
  /* What lies in the fold: it opens by hand alone, so that nothing moves beneath a click. */
  function drawFold() {
    const count = runs.own.length, working = runs.own.filter(run => isBusy(run) && !(run.quick && run.own)).length;
    const words = ["Compare methods", ...count ? [plural(count, "student")] : [], ...working ? [`${working} at work or waiting`] : []].join(" · ");
    if (fold.textContent !== words) fold.textContent = words;
  }
  function drawHero() {
    const run = bundledRun(), { accuracy, parameters } = runs.value, own = run && runs.last(run, "accuracy");
    stage.hidden = !run;
    const ratio = run && parameters ? Math.round(parameters / runs.last(run, "parameters")) : 0;
    const size = PARTS[ratio] ? `${PARTS[ratio]} the size` : ratio > 1 ? `${ratio} times smaller` : "a smaller network";
    title.textContent = run ? `${size.charAt(0).toUpperCase()}${size.slice(1)}, no recording` : "A smaller network, taught without recordings";
    facts.replaceChildren(...own && accuracy ? [el("b", "", percent(own, 1)), ` of held-out recordings recognised by this student, ${percent(accuracy, 1)} by its teacher. It heard none: it learnt from clips made out of the teacher's weights.`]
      : ["A student learns from clips made out of the teacher's weights alone."]);
    if (!run) return;
    caption.textContent = `Accuracy of the bundled student on held-out recordings, over its ${duration(runs.last(run, "seconds") || 0)} of making clips and learning`;
    canvas.setAttribute("aria-label", `Accuracy of the bundled student over its training: it ends at ${own === null ? "a value that is not known" : percent(own, 1)}; the teacher has ${accuracy ? percent(accuracy, 1) : "an unknown one"}.`);
    if (drawnFor !== run.id && canvas.clientHeight) { drawnFor = run.id; drawIn(); } else if (shownShare === null) plot(1);
  }
  function drawIn() {
    if (isStill()) { plot(1); return; }
    const from = performance.now();
    shownShare = 0;
    const frame = now => {
      shownShare = Math.min(1, (now - from) / DRAWN_IN);
      plot(shownShare);
      if (shownShare < 1) requestAnimationFrame(frame); else shownShare = null;
    };
    requestAnimationFrame(frame);
  }
  function plot(share) {
    const run = bundledRun();
    if (!run) return;
    const all = runs.curve(run, "accuracy"), last = all.length ? all[all.length - 1][0] : 10, { accuracy } = runs.value;
    const points = all.filter(([t]) => t <= share * last);
    const levels = accuracy ? [{ value: accuracy, words: `the teacher: ${percent(accuracy, 1)}` }] : [];
    plotCurves(canvas, { lines: [{ points, colour: colour(run), dash: [] }], share: true, end: last, levels });
  }
  function drawButton() {
    const busy = runs.own.some(run => run.quick && run.own && isBusy(run));
    teach.disabled = waiting || busy;
    teach.textContent = busy || waiting ? "A student is learning below" : `Teach one yourself (${minutes} min)`;
    teach.hidden = hint.hidden = runs.value.ready === false;
  }
  function focus() {
    const own = runs.own.filter(run => run.quick);
    return own.find(run => run.id === begun) || own.find(isBusy) || own[0] || null;
  }
  function draw() {
    if (noted.compared === undefined && runs.runs.some(run => !run.own && !run.bundled)) unfold(true, false);
    root.dataset.runs = runs.own.length;
    // No figure of one teacher stands under the name of another, on its way from a link to what it names.
    const here = teacherHere(), meant = !here || !props.value?.teacher || here === props.value.teacher;
    root.style.visibility = meant ? "" : "hidden";
    drawHero();
    drawButton();
    panel.draw(focus());
    drawFold();
    const busy = runs.own.find(isBusy);
    const brief = busy ? `${busy.title} learns, ${percent(Math.floor(10 * busy.share) / 10)}` : "";
    if (spoken.textContent !== brief) spoken.textContent = brief;
  }
  function change() {
    const value = props.value || {};
    if (value.teacher !== runs.teacher) { drawnFor = begun = null; panel.forget(); }
    root.dataset.teacher = value.teacher || "";
    if (value.begun && value.begun !== begun) {
      begun = value.begun;
      waiting = false;
      alarm.textContent = "";
      panel.expect(begun);
      setTimeout(() => panel.box.scrollIntoView({ block: "start", behavior: isStill() ? "auto" : "smooth" }), 50);
    }
    chooseTeacher(value.teacher || null, value.first);
  }
  followRuns({ root, server, draw, alarm });
  panel.onStop = id => actOn(server, "stop", id, alarm);
  watch("value", change);
  document.addEventListener("frami-arrived", draw);
  onTheme(() => { plot(1); panel.plot(); });
  new ResizeObserver(() => { if (canvas.clientHeight && shownShare === null) drawHero(); }).observe(stage);
  new ResizeObserver(() => { if (shownShare === null && drawnFor) plot(1); panel.plot(); }).observe(root);
  unfold(unfolded(), false);
  change();
};
