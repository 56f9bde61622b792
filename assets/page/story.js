/* The pair that Listen begins with: a recording, and what the network made of its class, which forms as it sounds. */
import { hasArrived } from "./address.js";
import { button, el, onPhone, percent } from "./core.js";
import { statesOf } from "./detail.js";
import { quiz } from "./quiz.js";
import { change, selection } from "./selection.js";
import { isSounding, play, playSequence, soundUrl, stopSound } from "./sound.js";
import { paint } from "./spectrogram.js";

const ONE_SENTENCE = "It need not sound like a word to you: this is all that the network listens for.";
const OTHER_SENTENCE = "It need not sound like the thing to you: this is all that the network listens for.";

function side(cls, clip, axis, words, small, act) {
  const box = el("figure", cls), picture = el("div", "picture"), text = el("figcaption"), start = button("start", "▶", act, `Play: ${words}`);
  picture.dataset.id = start.dataset.plays = clip.id;
  picture.append(el("canvas"), el("span", "playhead"), start);
  picture.addEventListener("click", event => { if (event.target !== start) start.click(); });
  text.append(el("b", "", words), el("small", "", small));
  box.append(picture, text);
  paint(picture.firstChild, clip, axis);
  return box;
}

frami.story = (element, props, server, watch) => {
  const root = element.querySelector(".frami-story");
  let mine = 0;

  const show = (clip, axis) => change({ clip, axis, server, forming: false, state: null });

  function made(clip, axis) {
    let states = [];
    const usual = `the network is ${percent(clip.confidence)} sure of it`;
    const box = side("made", clip, axis, `“${clip.target}”, made up`, usual, async () => {
      const start = box.querySelector(".start"), picture = box.querySelector(".picture"), small = box.querySelector("small");
      if (isSounding(start.dataset.plays)) { stopSound(); return; }
      show(clip, axis);
      const all = states.length > 1 ? [...states.slice(0, -1), clip] : [clip];
      const each = (now, i) => {
        picture.dataset.id = start.dataset.plays = now.id;
        paint(picture.firstChild, now, axis);
        small.textContent = i < all.length - 1 ? `forming from noise: step ${now.step} of ${states[states.length - 1].step}` : usual;
      };
      if (!await playSequence(all, server, { each, loop: undefined, pause: 120 })) each(clip, all.length - 1);
    });
    const now = mine;
    (async () => {
      const found = await statesOf(clip, server);
      if (now !== mine || !(found?.length > 1)) return;
      states = found;
      box.dataset.states = found.length;
      for (const one of [...found.slice(0, -1), clip]) await soundUrl(one, server).catch(() => {});    // oxlint-disable-line no-await-in-loop -- one at a time
    })();
    return box;
  }
  async function addRecording(pair, { teacher, axis }) {
    const now = mine, found = await server.recorded({ teacher }).catch(() => null);
    if (now !== mine) return;
    if (!found || found.error || !found.real) pair.classList.add("alone");
    if (!found || found.error) return;
    if (found.real) {
      const words = `“${found.real.target}”, recorded`;
      const box = side("real", found.real, axis, words, "a person, or the thing itself", () => {
        if (isSounding(found.real.id)) { stopSound(); return; }
        show(found.real, axis);
        play(found.real, server);
      });
      box.querySelector("small").textContent = `the network is ${percent(found.real.confidence)} sure of it`;
      box.title = found.real.credit || "";
      pair.prepend(box);
    }
    if (found.pairs.length) root.querySelector(".tell").append(button("dare", "Real or made? Guess in five rounds", () => {
      stopSound();
      const game = quiz(server, found.pairs, axis, () => { game.replaceWith(pair); root.querySelector(".dare").hidden = false; });
      pair.replaceWith(game);
      root.querySelector(".dare").hidden = true;
      game.querySelector("button")?.focus({ preventScroll: true });
      game.scrollIntoView({ block: "nearest" }); // on a phone the pair that it replaces may lie above the screen
    }));
    root.dataset.recorded = found.real ? found.real.id : "";
  }
  function draw() {
    const value = props.value || {}, clip = value.made;
    mine++;
    root.dataset.teacher = value.teacher || "";
    delete root.dataset.recorded;
    root.hidden = !clip;
    root.replaceChildren();
    if (!clip) return;
    const pair = el("div", value.ships ? "pair" : "pair alone"), tell = el("p", "tell");
    pair.append(made(clip, value.axis));
    tell.append(el("span", "", /^(zero|one|two|three|four|five|six|seven|eight|nine)$/.test(clip.target) ? ONE_SENTENCE : OTHER_SENTENCE));
    root.append(pair, tell);
    addRecording(pair, value);
    // The panel beside it has something in it from the start, unless the address names another clip of this teacher.
    const clipNamed = new URLSearchParams(location.search).get("clip"), awaited = clipNamed && (!hasArrived() || clipNamed.split("/")[1] === value.teacher);
    if (!onPhone() && !awaited && (!selection.clip || selection.clip.id.startsWith("gallery/"))) show(clip, value.axis);
  }
  watch("value", draw);
  draw();
};
