/* The Try it tab: sounds to click, and the predictions of teacher and students side by side. */
import { classFilter } from "./classes.js";
import { amount, bars, button, el, onPhone, percent, swatch } from "./core.js";
import { credited } from "./detail.js";
import { showOnMap } from "./explore_star.js";
import { soundControls } from "./player.js";
import { isSounding, play, stopSound } from "./sound.js";
import { spectrogram } from "./spectrogram.js";
import { changes } from "./try_change.js";
import { decisions } from "./try_decided.js";
import { teacherChosen } from "./try_teacher.js";

const SOUNDS = 24;    // of a group that are shown at once
const RECORDED = "a recording: ";

/* The teacher whose sounds are awaited, or null. What was predicted of the former one's sounds would not stay. */
let awaited = null;
const wait = (name, answered) => {
  awaited = answered && name === teacherChosen() ? null : name;
  document.querySelectorAll(".frami-samples").forEach(root => { root.inert = root.ariaBusy = awaited !== null; });
};
document.addEventListener("change", ({ target }) => {
  if (target.closest("#teacher") && (awaited !== null || target.value !== teacherChosen())) wait(target.value, false);
});
frami.soundsCame = name => wait(name, true);    // they may be drawn later: where the tab was not open yet

const press = pressed => document.querySelectorAll(".frami-samples button").forEach(b => b.setAttribute("aria-pressed", String(b === pressed)));

frami.samples = (element, props, server, watch, trigger) => {
  const root = element.querySelector(".frami-samples");
  function sound({ id, label }) {
    const one = button("", label, () => {
      press(one);
      play({ id, mel: "" }, server);
      trigger("select", { id });
    });
    one.dataset.id = id;
    one.setAttribute("aria-pressed", "false");
    return one;
  }
  /* Sounds of many classes are searched; of those that match, a few are shown. */
  function section({ title, sounds, categories }) {
    const box = el("section"), row = el("div", "row"), more = el("p", "more"), all = sounds.map(sound), filter = classFilter("Find a sound", show);
    function show() {
      const passing = all.filter((_, i) => filter.passes(i)), shown = new Set(passing.slice(0, SOUNDS));
      all.forEach(one => { one.hidden = !shown.has(one); });
      more.textContent = passing.length > SOUNDS ? `and ${passing.length - SOUNDS} more` : passing.length ? "" : "no sound matches";
    }
    more.setAttribute("role", "status");
    filter.offer(sounds.map(one => one.label), categories);
    row.append(...all);
    show();
    box.append(el("h3", "", title), ...all.length > SOUNDS ? [filter.box] : [], row, more);
    return box;
  }
  const draw = () => {
    root.dataset.teacher = props.value?.teacher || "";
    root.replaceChildren(...(props.value?.groups || []).map(section));
    if (awaited !== null) wait(awaited, true);
  };
  watch("value", draw);
  draw();
};

frami.try = (element, props, server, watch) => {
  const root = element.querySelector(".frami-try");
  const draw = () => {
    const found = props.value || {}, late = found.teacher && teacherChosen() && found.teacher !== teacherChosen();    // of the one chosen before
    const value = late ? {} : found, state = value.state || "idle";
    root.dataset.state = state;
    if (!value.label) press(null);
    // on a phone the predictions lie below what was clicked
    if (state !== "idle" && onPhone()) requestAnimationFrame(() => root.scrollIntoView({ block: "start", behavior: "smooth" }));
    root.replaceChildren(...state === "predicted" ? predictions(value, server)
      : [state === "refused" ? el("p", "refused", value.message) : el("p", "frami-empty", "Record something, choose a file or click a sound: the predictions appear here.")]);
    root.querySelectorAll(".refused, .predicted").forEach(one => one.setAttribute("role", "status"));
  };
  watch("value", draw);
  draw();
};

const shortTime = seconds => `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;

const line = (cls, texts) => texts.length ? [el("p", cls, `${texts.join("; ")}.`)] : [];

function predictions(value, server) {
  const { label, what, notes, cautions, networks, seen, seconds, given } = value;
  const head = el("div", "what predicted"), words = el("p"), cards = el("div", "networks"), clip = { id: `given/${given}`, mel: "" };
  const again = button("again", "▶", () => { if (isSounding(clip.id)) stopSound(); else play(clip, server); }, "Play");
  again.dataset.plays = clip.id;
  if (label) words.append(el("b", "", label), " ", what.startsWith(RECORDED) ? credited(what.slice(RECORDED.length)) : what);
  else words.append(el("b", "", what.charAt(0).toUpperCase() + what.slice(1)));
  head.append(again, words, el("span", "time", shortTime(seconds)), soundControls(), button("on-map", "Show it on the map", () => showOnMap(given, value.teacher)));
  const decided = decisions(value, server);
  cards.append(...networks.map(one => card(one, networks[0], label, name => decided.show(one.key, value.classes.indexOf(name)))));
  const pictures = el("div", "seen");
  pictures.append(el("h3", "", networks.length === 1 ? "What the teacher saw" : seen.length === 1 ? "What they saw: the same spectrogram" : "What each saw"));
  for (const [number, one] of seen.entries()) {
    const whose = networks.filter(network => network.seen === number).map(network => network.title);
    if (seen.length > 1) pictures.append(el("p", "facts", whose.join(", ")));
    pictures.append(spectrogram(one.clip, one.axis));
  }
  return [head, ...line("notes", notes), ...line("cautions", cautions), cards,
    ...networks.length > 1 ? [] : [el("p", "notes", "No student is ticked. Tick one, or distil one in the Distil tab: it is compared with its teacher here.")],
    pictures, el("p", "facts", "The milliseconds are those of the network alone on this machine, as busy as it is now: the median of a few passes."), decided.box, changes(value, server)];
}
function card(one, teacher, label, ask) {
  const made = el("section", "network"), head = el("h3"), verdict = el("p", "verdict"), rows = el("div", "bars"), [best, share] = one.top[0];
  made.dataset.predicted = best;
  head.append(swatch(one.colour === null ? "var(--body-text-color)" : `var(--frami-r${one.colour})`), el("span", "", one.title));
  verdict.append(el("b", "", best), el("span", "", percent(share)));
  rows.append(...bars(one.top, label));
  [...rows.children].forEach((row, i) => {
    const name = one.top[i][0], why = button("why", "why?", () => ask(name), `What decided for ${name}`);
    row.append(why);
  });
  const compared = one === teacher ? one.small : best === teacher.top[0][0] ? "predicts the same as the teacher" : "predicts another class than the teacher";
  made.append(head, verdict, rows, el("p", "facts", `${one.milliseconds.toFixed(one.milliseconds < 10 ? 1 : 0)} ms · ${amount(one.parameters)} parameters`),
    el("p", "facts", compared));
  return made;
}
