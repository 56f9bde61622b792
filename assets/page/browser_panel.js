/* What a network in this browser hears: the microphone or a sound, probabilities as bars, and how long it takes. The
   studio's page and an exported one show the same panel. */
import { decodedSound } from "./browser_sound.js";
import { drawWave } from "./browser_wave.js";
import { microphoneTrouble } from "./capture.js";
import { bars, button, el, percent } from "./core.js";

const FEW_CLASSES = 12;                     // classes up to which all have a bar, in their own order; of more the likeliest
const LIKELIEST = 5, SAID_FROM = .5;     // bars of many classes; probability from which on a class is said aloud
const CALM = 150;                   // milliseconds in which a shown probability follows two thirds of the way
const HELD = 600, PAUSE_SAID = 2000;    // milliseconds that a class is likeliest before it is said, and between two that are
const LABEL = 16;                   // letters of a class beside its bar
const TIMED = 20;                   // answers whose median time is shown

export const probabilitiesOf = (logits, multilabel) => {
  if (multilabel) return Array.from(logits, value => 1 / (1 + Math.exp(-value)));
  const most = Math.max(...logits), parts = Array.from(logits, value => Math.exp(value - most)), sum = parts.reduce((all, one) => all + one, 0);
  return parts.map(one => one / sum);
};
const median = values => values.toSorted((a, b) => a - b)[values.length >> 1];
const short = milliseconds => `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;

/* ready(told): resolves to what openNetwork gives; more(run): elements beside the microphone's button, where
   run(name, about => ArrayBuffer of a file) shows what the network makes of it. The root gets an event "answer" each
   time, its detail { logits, probabilities, samples, milliseconds, live }. Returns { stop, reset }. */
export function browserPanel(root, { ready, more }) {
  const controls = el("div", "controls"), progress = el("div", "progress"), status = el("p", "status"), shown = el("div", "answer");
  const verdict = el("p", "verdict"), wave = el("canvas"), rows = el("div", "bars"), facts = el("p", "facts"), spoken = el("p", "frami-spoken");
  const name = el("b"), share = el("span");
  let turn = 0, smooth = null, last = 0, times = [], delays = [], gaps = [], likeliest = { label: "", since: 0 }, said = { label: "", at: 0 };
  const listen = button("listen", "Use the microphone", () => root.dataset.mode === "listening" ? stop("Stopped.") : begin());
  [status, spoken].forEach(one => one.setAttribute("role", "status"));
  progress.setAttribute("role", "progressbar");
  progress.setAttribute("aria-label", "Fetching the network");
  progress.append(el("div"));
  wave.setAttribute("aria-hidden", "true");
  verdict.append(name, share);
  shown.append(verdict, wave, rows, facts);
  controls.append(listen, ...more(run));
  root.append(controls, progress, status, shown, spoken);

  const say = text => { if (status.textContent !== text) status.textContent = text; };
  function mode(now) {
    root.dataset.mode = now;
    listen.textContent = now === "listening" ? "Stop" : "Use the microphone";
    listen.setAttribute("aria-pressed", String(now === "listening"));
    progress.hidden = now !== "loading";
    controls.querySelectorAll("button, input").forEach(one => { if (one !== listen) one.disabled = now === "loading"; });
    listen.disabled = now === "loading";
  }
  function told(part) {
    progress.firstChild.style.width = `${100 * part}%`;
    progress.setAttribute("aria-valuenow", String(Math.round(100 * part)));
  }
  function fresh() {
    smooth = null;
    [times, delays, gaps, last, likeliest, said] = [[], [], [], 0, { label: "", since: 0 }, { label: "", at: 0 }];
    spoken.textContent = "";
  }
  let here = null;    // what is fetched
  async function fetched(mine) {
    if (here) return here;
    mode("loading");
    told(0);
    say("Fetching the network, once…");
    const found = await ready(told);
    if (mine !== turn) { found.close(); return null; }
    here = found;
    return here;
  }
  function failed(error, mine) {
    if (mine !== turn) return;
    mode("");
    say(microphoneTrouble(error));
  }
  async function begin() {
    const mine = ++turn;
    try {
      const found = await fetched(mine);
      if (!found || mine !== turn) return;
      fresh();
      say("Asking for the microphone…");
      await found.listen(data => heard(data, found.about, mine), () => { if (mine === turn) stop("The microphone was taken away. Connect it again, or choose a file."); });
      if (mine !== turn) return;
      mode("listening");
      say("Listening. The sound stays on this device.");
    } catch (error) { failed(error, mine); }
  }
  async function run(title, content) {
    const mine = ++turn;
    here?.stop();
    try {
      const found = await fetched(mine);
      if (!found || mine !== turn) return;
      mode("");
      fresh();
      say(`Reading ${title}…`);
      const sound = await decodedSound(await content(found.about), found.about.rate);
      const data = await found.clip(sound.samples);
      if (mine !== turn) return;
      if (data.quiet) { shown.hidden = true; say(`${title}: this is silence, there is nothing in it to recognise.`); return; }
      heard(data, found.about, mine);
      say(`${title}, ${sound.seconds.toFixed(2)} s${sound.cut ? ", of which the first 30 s were used" : ""}: ${name.textContent}, ${share.textContent}.`);
    } catch (error) { failed(error, mine); }
  }
  function heard(data, about, mine) {
    if (mine !== turn) return;
    if (data.kind === "error") { stop(data.message); return; }
    const now = performance.now();
    root.dataset.answers = Number(root.dataset.answers || 0) + 1;
    shown.classList.toggle("past", Boolean(data.quiet));
    if (data.quiet) {
      if (!smooth) { shown.hidden = true; say("Listening: quiet. The sound stays on this device."); }
      likeliest = { label: "", since: now };
      return;
    }
    if (data.live) say("Listening. The sound stays on this device.");
    shown.hidden = false;
    const probabilities = probabilitiesOf(data.logits, about.multilabel), pace = data.live && smooth ? 1 - Math.exp(-(now - last) / CALM) : 1;
    smooth = probabilities.map((value, k) => smooth ? smooth[k] + pace * (value - smooth[k]) : value);
    const before = last;
    last = now;
    show(about);
    drawWave(wave, data.samples);
    times = [...times, data.milliseconds].slice(-TIMED);
    if (data.live) delays = [...delays, performance.timeOrigin + now - data.heard].slice(-TIMED);
    if (data.live && before) gaps = [...gaps, now - before].slice(-TIMED);
    facts.textContent = data.live ? `${short(median(delays))} from sound to answer, of which ${short(median(times))} compute · the last ${about.window.toFixed(1)} s${gaps.length ? `, every ${(median(gaps) / 1000).toFixed(2)} s` : ""}` : `computed in ${short(data.milliseconds)} on this device`;
    Object.assign(root.dataset, { milliseconds: median(times).toFixed(2), delay: data.live ? median(delays).toFixed(1) : "" });
    if (data.live) speak(now);
    root.dispatchEvent(new CustomEvent("answer", { detail: { logits: data.logits, probabilities, samples: data.samples, milliseconds: data.milliseconds, live: Boolean(data.live) } }));
  }
  function show({ classes }) {
    const order = smooth.map((value, k) => k).toSorted((a, b) => smooth[b] - smooth[a]), best = order[0];
    const drawn = classes.length <= FEW_CLASSES ? classes.map((_, k) => k) : order.slice(0, LIKELIEST);
    root.dataset.heard = classes[best];
    name.textContent = classes[best];
    share.textContent = percent(smooth[best]);
    const top = drawn.map(k => [classes[k], smooth[k]]);
    if ([...rows.children].map(row => row.title).join("\n") === top.map(([label]) => label).join("\n")) {
      [...rows.children].forEach((row, i) => {
        row.classList.toggle("target", top[i][0] === classes[best]);
        row.querySelector(".track div").style.width = `${100 * top[i][1]}%`;
        row.querySelector(".value").textContent = percent(top[i][1]);
      });
    } else {
      rows.style.setProperty("--label", `${Math.min(LABEL, Math.max(...top.map(([label]) => label.length)) + 1)}ch`);
      rows.replaceChildren(...bars(top, classes[best]));
    }
    likeliest = likeliest.label === classes[best] ? likeliest : { label: classes[best], since: performance.now() };
    likeliest.share = smooth[best];
  }
  /* For screen readers: a class once it has stayed the likeliest, and not more often than every two seconds. */
  function speak(now) {
    const { label, since, share: sure } = likeliest;
    if (sure < SAID_FROM || now - since < HELD || now - said.at < PAUSE_SAID || said.label === label) return;
    said = { label, at: now };
    spoken.textContent = label;
  }
  function stop(words = "") {
    turn++;
    here?.stop();
    mode("");
    say(words);
  }
  addEventListener("pagehide", () => stop());
  shown.hidden = true;
  mode("");
  return { stop, reset() { stop(); here?.close(); here = null; shown.hidden = true; fresh(); }, network: () => here };
}
