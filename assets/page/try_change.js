/* Try it: what must change in a sound until the teacher hears another class, as it forms; before, after, difference. */
import { button, decoded, el, NO_ANSWER, percent } from "./core.js";
import { play } from "./sound.js";
import { spectrogram } from "./spectrogram.js";
import { picker } from "./try_decided.js";
import { teacherChosen } from "./try_teacher.js";

export function changes({ given, networks, classes }, server) {
  const box = el("section", "change"), row = el("div", "row"), shown = el("div", "shown"), words = el("p", "facts");
  const second = classes.indexOf((networks[0].top[1] || networks[0].top[0])[0]);
  const [which, label] = picker("Class", classes.map((name, i) => [i, name]), second);
  let id = null;
  words.setAttribute("role", "status");
  const go = button("ask", "Change it", start), stop = button("stop", "Stop", () => id && server.stop_change(id));
  stop.hidden = true;
  const fail = text => {
    box.dataset.state = "refused";
    words.textContent = "";
    shown.replaceChildren(el("p", "refused", frami.plainly(text)));
  };
  async function start() {
    go.disabled = true;
    box.dataset.state = "waiting";
    words.textContent = "Waiting for its turn…";
    shown.replaceChildren();
    try {
      const begun = await server.change({ given, teacher: teacherChosen(), label: Number(label.value) });
      if (!begun || begun.error) throw new Error(begun?.error || NO_ANSWER);
      id = begun.id;
      stop.hidden = false;
      await follow();
    } catch (error) { fail(error.message || String(error)); }
    id = null;
    go.disabled = false;
    stop.hidden = true;
  }
  async function follow() {
    const state = await server.changing(id);
    if (!box.isConnected) { server.stop_change(id); return; }
    if (!state || state.error) throw new Error(state?.error || NO_ANSWER);
    if (state.state === "error") throw new Error(state.message);
    if (state.frames) shown.replaceChildren(...pictures(state, id, server));
    words.textContent = changeVerdict(state);
    box.dataset.state = state.state;
    if (!["waiting", "running"].includes(state.state)) return;
    await new Promise(done => setTimeout(done, 400));
    await follow();
  }
  row.append(which, go, stop);
  box.append(el("h3", "", "What must change until the teacher hears another class?"), el("p", "facts",
    "An inversion that begins at your sound and stays as near to it as it can."), row, words, shown);
  return box;
}
function changeVerdict({ state, step, steps, target, confidence, start, heard, predicted, decibels, share }) {
  if (step === undefined) return state === "stopped" ? "Stopped before it began." : "Waiting for its turn…";
  if (state === "running") return `Step ${step} of ${steps}: ${target} with ${percent(confidence)}, changed by ${decibels.toFixed(1)} dB on average.`;
  const how = `Changed by ${decibels.toFixed(1)} dB on average; ${percent(share)} of the bands change by 3 dB or more somewhere.`;
  const from = `${target}: ${percent(start)} before, ${percent(confidence)} after.`;
  if (start >= .8) return `The teacher hears ${target} in it already. ${from}`;
  if (heard) return `Now the teacher hears ${target}. ${from} ${how}`;
  return `${state === "stopped" ? "Stopped" : "It did not succeed"}: the teacher ${predicted === target ? `hears ${target}, but not surely` : `still hears ${predicted}`}. ${from} ${how}`;
}
function pictures({ state, axis, frames, before, after, difference }, id, server) {
  const done = !["waiting", "running"].includes(state);
  const figure = (title, mel, sound) => {
    const box = el("figure"), plot = spectrogram({ id: `change/${id}/${sound}`, mel, frames }, axis);
    box.append(el("figcaption", "", title), plot);
    if (done && sound !== "difference") box.append(button("hear", `▶ Play ${sound}`, () => play({ id: `change/${id}/${sound}`, mel: "" }, server)));
    return box;
  };
  const apart = figure("Difference", before, "difference"), canvas = apart.querySelector("canvas");
  paintDifference(canvas, decoded(difference), frames, axis.bands);
  apart.querySelector(".key").replaceChildren(el("span", "", "+20"), el("div", "ramp apart"), el("span", "", "−20"), el("span", "unit", "dB"));
  const row = el("div", "pictures");
  row.append(figure("Before", before, "before"), figure("After", after, "after"), apart);
  return [row, ...done ? [el("p", "facts", "Both are made audible by the same vocoder, so that the change alone differs.")] : []];
}
/* Louder is orange, quieter is blue, unchanged is dark. */
function paintDifference(canvas, bytes, frames, bands) {
  Object.assign(canvas, { width: frames, height: bands });
  const c = canvas.getContext("2d"), image = c.createImageData(frames, bands);
  for (let band = 0; band < bands; band++)
    for (let t = 0; t < frames; t++) {
      const value = (bytes[band * frames + t] - 127.5) / 127.5, size = Math.sqrt(Math.abs(value)), colour = value > 0 ? [255, 160, 60] : [80, 160, 255];
      image.data.set([...colour.map(one => 18 + (one - 18) * size), 255], 4 * ((bands - 1 - band) * frames + t));
    }
  c.putImageData(image, 0, 0);
}
