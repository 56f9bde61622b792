/* Try it: what decided that a network predicts a class, drawn over the spectrogram, and to be heard alone. */
import { button, decoded, el, NO_ANSWER, percent } from "./core.js";
import { play } from "./sound.js";
import { spectrogram } from "./spectrogram.js";
import { teacherChosen } from "./try_teacher.js";

/* A choice in a row: options [[value, words], …]. */
export function picker(name, options, chosen) {
  const cell = el("label", "picker"), select = el("select");
  select.append(...options.map(([value, words]) => Object.assign(el("option", "", words), { value })));
  if (chosen !== undefined) select.value = chosen;
  cell.append(el("span", "", name), select);
  return [cell, select];
}
let soundOfPart = "";

export function decisions({ given, networks, classes }, server) {
  const box = el("section", "decided"), row = el("div", "row"), shown = el("div", "shown");
  const [whose, network] = picker("Network", networks.map(one => [one.key, one.title]));
  const [which, label] = picker("Class", classes.map((name, i) => [i, name]), classes.indexOf(networks[0].top[0][0]));
  shown.setAttribute("aria-live", "polite");
  let asked = 0;
  async function show(key = network.value, index = Number(label.value)) {
    const mine = ++asked;
    network.value = key;
    label.value = index;
    box.dataset.state = "waiting";
    shown.replaceChildren(el("p", "facts", "Covering one patch of the spectrogram after the other…"));
    try {
      const reply = await server.decided({ given, teacher: teacherChosen(), network: key, label: index });
      if (mine !== asked) return;
      if (!reply || reply.error) throw new Error(reply?.error || NO_ANSWER);
      shown.replaceChildren(...decision(reply, given, server));
      box.dataset.state = "shown";
    } catch (error) {
      if (mine !== asked) return;
      box.dataset.state = "refused";
      shown.replaceChildren(el("p", "refused", frami.plainly(error.message || String(error))));
    }
  }
  row.append(whose, which, button("ask", "Show what decided", () => show()));
  box.append(el("h3", "", "What decided"), row, shown);
  return { box, show };
}
function decision({ class: name, picture, saliency, share, before, after, sound }, given, server) {
  const plot = spectrogram(picture.clip, picture.axis), over = el("canvas", "over"), legend = el("p", "legend"), plays = el("div", "row");
  plot.querySelector(".picture").append(over);
  tint(over, decoded(saliency), picture.clip.frames, picture.axis.bands);
  legend.append(el("span", "", "no part in it"), el("i"), el("span", "", `speaks for ${name}`));
  if (soundOfPart) URL.revokeObjectURL(soundOfPart);
  soundOfPart = URL.createObjectURL(new Blob([decoded(sound)], { type: "audio/wav" }));
  plays.append(button("alone", "▶ Play only what decided", () => play({ id: "decided", url: soundOfPart }, server)), button("all", "▶ Play all", () => play({ id: `given/${given}`, mel: "" }, server)));
  return [plot, legend, plays, el("p", "facts", `${percent(share)} of the picture is what decided. The network hears ${name} in all of it with ${percent(before)}, in this part alone with ${percent(after)}.`)];
}
/* Teal where a patch speaks for the class: no colour of the spectrogram. */
function tint(canvas, bytes, frames, bands) {
  Object.assign(canvas, { width: frames, height: bands });
  const c = canvas.getContext("2d"), image = c.createImageData(frames, bands);
  for (let band = 0; band < bands; band++)
    for (let t = 0; t < frames; t++) image.data.set([70, 240, 215, .85 * bytes[band * frames + t]], 4 * ((bands - 1 - band) * frames + t));
  c.putImageData(image, 0, 0);
}
