/* The panel of the selected clip: built once a clip, renewed in place while the clip forms or another step is shown. */
import { bars, button, download, el, percent } from "./core.js";
import { expander, soundControls } from "./player.js";
import { change, deselect, onSelection, selection } from "./selection.js";
import { chooseVocoder, isVocoder, isSounding, originalUrl, play, showTrouble, stopSound, withVocoder } from "./sound.js";
import { paint, spectrogram } from "./spectrogram.js";

/* What a tab adds to the panel: functions of its root. */
export const additions = [];

frami.detail = (element, props) => {
  const root = element.querySelector(".frami-detail");
  const draw = () => {
    const { clip, axis, server, state } = selection;
    root.closest("#detail")?.classList.toggle("filled", Boolean(clip));
    if (!clip) {
      root.dataset.id = "";
      root.replaceChildren(el("p", "frami-empty", "Click a picture to hear it. Here it is shown large, with the classes that the teacher predicts."));
      return;
    }
    if (root.dataset.id !== clip.id) build(root, clip, axis, server, (axis?.usual && props.vocoders) || {});
    const shown = state || clip, picture = root.querySelector(".picture");
    root.querySelector(".again")?.setAttribute("data-plays", shown.id);
    if (picture) {
      picture.dataset.id = shown.id;
      paint(picture.firstChild, shown, axis);
    }
    root.querySelector(".title b").textContent = clip.target;
    root.querySelector(".title span").textContent = verdict(clip, state);
    root.querySelector(".bars").replaceChildren(el("h3", "", state ? `What the teacher predicts at step ${state.step}` : "What the teacher predicts"), ...bars(shown.top, clip.target));
    showSteps(root.querySelector(".way"));
    showOrigin(root.querySelector(".meta"));
    additions.forEach(add => add(root));
  };
  onSelection(draw);
  draw();
};

function build(root, clip, axis, server, vocoders) {
  root.dataset.id = clip.id;
  const head = el("div", "head"), title = el("div", "title"), trouble = el("p", "note");
  trouble.setAttribute("role", "alert");
  title.append(el("b"), el("span"));
  const again = button("again", "▶", () => {
    const shown = selection.state || selection.clip;
    if (isSounding(shown.id)) stopSound(); else play(shown, server);
  }, "Play again");
  again.dataset.plays = clip.id;
  head.append(...clip.soundless ? [] : [again], title, ...clip.soundless ? [] : [soundControls()], expander(root, title), button("close", "×", deselect, "Close"));
  root.replaceChildren(head, clip.soundless ? el("p", "soundless", clip.soundless) : spectrogram(clip, axis), vocoderButtons(clip, vocoders), el("div", "way"), el("div", "bars"), el("p", "meta"), trouble);
}
function verdict(clip, state) {
  const confidence = percent(clip.confidence), right = clip.predicted === clip.target;
  if (state) return `at step ${state.step} classified as ${state.predicted}, confidence ${percent(state.top[0][1])}`;
  const words = right ? `recognised, confidence ${confidence}` : `but classified as ${clip.predicted}`;
  if (clip.untargeted) return `predicted class, confidence ${confidence}; there is no target class`;
  return clip.real ? `a recording, ${words}` : words;
}
/* The same clip with one vocoder or the other. */
function vocoderButtons(clip, vocoders) {
  const box = el("div", "vocoders");
  if (clip.real || withVocoder(clip.id) === clip.id) return box;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Vocoder: hear the same clip with");
  for (const [name, title] of Object.entries(vocoders)) {
    const one = button("", title, () => { chooseVocoder(name); play(selection.state || selection.clip, selection.server); });
    one.dataset.vocoder = name;
    one.setAttribute("aria-pressed", String(isVocoder(name)));
    box.append(one);
  }
  return box;
}

// ---- how a finished clip was made: its saved states, fetched once, when it is first looked at
const saved = new Map();
export function statesOf(clip, server) {
  if (!saved.has(clip.id)) {
    const asked = server.states(clip.id).catch(() => []);
    saved.set(clip.id, asked);
    asked.then(found => { if (found?.error) saved.delete(clip.id); }); // too many at a time: asked for when next looked at
    if (saved.size > 40) saved.delete(saved.keys().next().value);
  }
  return saved.get(clip.id);
}
async function showSteps(box) {
  const { clip, server, forming } = selection;
  if (forming || !server?.states) { box.replaceChildren(); return; }
  if (box.dataset.id === clip.id) { if (!selection.state) box.rewind?.(); return; }
  box.dataset.id = clip.id;
  const states = await statesOf(clip, server);
  if (box.dataset.id !== clip.id || !(states?.length > 1)) return;
  const last = states.length - 1, label = el("label"), words = el("span"), slider = el("input");
  Object.assign(slider, { type: "range", min: 0, max: last, step: 1, value: last });
  label.append(el("b", "", "How it was made"), words, slider);
  const say = k => {
    words.textContent = `step ${states[k].step} of ${states[last].step}`;
    slider.setAttribute("aria-valuetext", words.textContent);
  };
  slider.addEventListener("input", () => {
    const k = Number(slider.value);
    stopSound();
    say(k);
    change({ state: k === last ? null : states[k] });
  });
  box.rewind = () => { slider.value = last; say(last); };
  box.rewind();
  box.replaceChildren(label);
}
function showOrigin(box) {
  const { clip, axis, server, forming } = selection, text = `${(clip.frames * axis.frame).toFixed(2)} s · ${clip.origin}`;
  if (forming) { box.replaceChildren(text); return; }
  const link = el("a", "save", "Save sound");
  link.href = "#";
  link.addEventListener("click", async event => {
    event.preventDefault();
    const shown = selection.state || clip;
    try { download(await originalUrl(shown, server), `frami-${clip.target}-${shown.id.replace(/[/@]/g, "-")}`); } catch (error) { showTrouble(error.message); }
  });
  box.replaceChildren(text, ...clip.soundless ? [] : [" · ", link], ...clip.credit ? [credited(clip.credit)] : []);
}
/* Whose recording it is; the address in brackets as a link. */
export function credited(words) {
  const line = el("span", "credit"), [, before, address, after] = words.match(/^(.*) \((https:\/\/[^\s()]+)\)(.*)$/) || ["", words];
  line.append("Recording: ", before);
  if (address) {
    const link = el("a", "", new URL(address).hostname.replace("www.", ""));
    Object.assign(link, { href: address, target: "_blank", rel: "noopener noreferrer" });
    line.append(" (", link, ")", after);
  }
  return line;
}
