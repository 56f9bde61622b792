/* The Try it tab: bundled sounds to click, and the predictions of teacher and students side by side. */
import { classFilter } from "./classes.js";
import { amount, bars, button, el, onPhone, percent, swatch } from "./core.js";
import { showOnMap } from "./explore_star.js";
import { play } from "./sound.js";
import { spectrogram } from "./spectrogram.js";

const SOUNDS = 24;    // of a group that are shown at once

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
  };
  watch("value", draw);
  draw();
};

frami.try = (element, props, server, watch) => {
  const root = element.querySelector(".frami-try");
  root.setAttribute("aria-live", "polite");
  const draw = () => {
    const value = props.value || {}, state = value.state || "idle";
    root.dataset.state = state;
    if (!value.label) press(null);
    // on a phone the predictions lie below what was clicked
    if (state !== "idle" && onPhone()) requestAnimationFrame(() => root.scrollIntoView({ block: "start", behavior: "smooth" }));
    root.replaceChildren(...state === "predicted" ? predictions(value)
      : [state === "refused" ? el("p", "refused", value.message) : el("p", "frami-empty", "Click a sound, or record your own: the predictions appear here.")]);
  };
  watch("value", draw);
  draw();
};

function predictions({ label, what, notes, networks, clip, axis, given }) {
  const head = el("p", "what"), cards = el("div", "networks"), picture = el("div", "seen");
  if (label) head.append(el("b", "", label), `, ${what}`);
  else head.append(el("b", "", what.charAt(0).toUpperCase() + what.slice(1)));
  if (given) head.append(" ", button("on-map", "Show it on the map", () => showOnMap(given.token, given.teacher)));
  cards.append(...networks.map(one => card(one, networks[0], label)));
  picture.append(el("h3", "", networks.length > 1 ? "The spectrogram that they classified" : "The spectrogram that it classified"), spectrogram(clip, axis),
    el("p", "facts", "The milliseconds are those of the network alone on this machine, as busy as it is now: the median of a few passes."));
  return [head, ...notes.length ? [el("p", "notes", `${notes.join("; ")}.`)] : [], cards,
    ...networks.length > 1 ? [] : [el("p", "notes", "no student is ticked: distil one in the Distil tab, and it is compared with its teacher here.")], picture];
}
function card(one, teacher, label) {
  const made = el("section", "network"), head = el("h3"), verdict = el("p", "verdict"), rows = el("div", "bars"), [best, share] = one.top[0];
  made.dataset.predicted = best;
  head.append(swatch(one.colour === null ? "var(--body-text-color)" : `var(--frami-r${one.colour})`), el("span", "", one.title));
  verdict.append(el("b", "", best), el("span", "", percent(share)));
  rows.append(...bars(one.top, label));
  const compared = one === teacher ? one.small : best === teacher.top[0][0] ? "predicts the same as the teacher" : "predicts another class than the teacher";
  made.append(head, verdict, rows, el("p", "facts", `${one.milliseconds.toFixed(one.milliseconds < 10 ? 1 : 0)} ms · ${amount(one.parameters)} parameters`),
    el("p", "facts", compared));
  return made;
}
