/* Real or made? Five rounds of two sounds of one class: which one is the recording? The network is asked too. */
import { button, el, percent, plural } from "./core.js";
import { isSounding, play, showTrouble, stopSound } from "./sound.js";
import { paint } from "./spectrogram.js";

const ROUNDS = 5, LETTERS = ["A", "B"];
const NETWORK = "The network picks the one of the two in which its confidence is higher. Made clips are optimised for that confidence, so they often fool it.";
const anyOf = list => list[Math.floor(Math.random() * list.length)];
const shuffled = list => list.map(one => [Math.random(), one]).toSorted((a, b) => a[0] - b[0]).map(([, one]) => one);

/* pairs: [{ real, made }], lists of clips of one class; close: ends it. */
export function quiz(server, pairs, axis, close) {
  const root = el("div", "frami-quiz"), classes = shuffled(pairs);
  let round = 0, yours = 0, its = 0;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Real or made?");

  function ask() {
    const { real, made } = classes[round % classes.length], two = shuffled([{ clip: anyOf(real), real: true }, { clip: anyOf(made), real: false }]);
    // Neither tells by its length: both are played once, as long as the shorter lasts.
    const most = Math.min(...two.map(one => one.clip.frames)) * axis.frame;
    const head = el("p", "round"), row = el("div", "two"), verdict = el("p", "verdict"), next = button("next", round + 1 < ROUNDS ? "Next" : "Score", () => {
      round++;
      if (round < ROUNDS) ask(); else score();
    });
    head.append(el("b", "", `Round ${round + 1} of ${ROUNDS}: “${two[0].clip.target}”.`), " Which one is the recording?");
    verdict.setAttribute("role", "status");
    next.hidden = true;
    const cards = two.map((one, i) => {
      const card = el("div", "card"), hear = button("hear", "▶", () => {
        if (isSounding(one.clip.id)) stopSound(); else play(one.clip, server, { most, loop: false });
      }, `Play ${LETTERS[i]}`), pick = button("pick", `${LETTERS[i]} is the recording`, () => answer(i));
      hear.dataset.plays = one.clip.id;
      card.append(hear, pick);
      return card;
    });
    function answer(i) {
      const right = two[i].real, surer = two[0].clip.confidence >= two[1].clip.confidence ? 0 : 1, itIsRight = two[surer].real;
      yours += Number(right);
      its += Number(itIsRight);
      verdict.textContent = `${right ? "Right" : "Wrong"}. The network is more confident in ${LETTERS[surer]}, so it is ${itIsRight ? "right" : "wrong"} too.`.replace(right === itIsRight ? "" : " too", "");
      cards.forEach((card, k) => reveal(card, two[k]));
      root.dataset.answered = String(right);
      next.hidden = false;
      next.focus({ preventScroll: true });
    }
    async function reveal(card, { clip, real: recorded }) {
      const words = el("p", "", `${recorded ? "a recording" : "made up"} · the network is ${percent(clip.confidence)} sure`);
      card.classList.add(recorded ? "recorded" : "invented");
      card.querySelector(".pick").replaceWith(words);
      try {
        const whole = await server.clip({ id: clip.id }), canvas = el("canvas");
        if (whole.error) throw new Error(whole.error);
        paint(canvas, whole, axis);
        card.insertBefore(canvas, words);
      } catch (error) { showTrouble(error.message || String(error)); }
    }
    row.append(...cards);
    root.dataset.round = round + 1;
    delete root.dataset.answered;
    root.replaceChildren(head, row, verdict, next, button("leave", "×", leave, "Close the game"));
  }
  function score() {
    const said = `Real or made? I told ${plural(yours, "recording")} of ${ROUNDS} from sounds that a network made up; the network itself told ${its}.`;
    const head = el("p", "round"), share = button("share", "Share", async () => {
      const link = new URL(location.href);
      for (const key of ["run", "__theme"]) link.searchParams.delete(key);
      try {
        if (navigator.share) await navigator.share({ text: said, url: link.href });
        else { await navigator.clipboard.writeText(`${said} ${link.href}`); share.textContent = "Copied"; }
      } catch (error) { if (error.name !== "AbortError") verdict.textContent = `${said} ${link.href}`; }
    }), verdict = el("p", "verdict", NETWORK), row = el("div", "ends");
    head.append(el("b", "", `You: ${yours} of ${ROUNDS}. The network: ${its} of ${ROUNDS}.`));
    row.append(button("again-game", "Play again", () => { [round, yours, its] = [0, 0, 0]; classes.push(...classes.splice(0, ROUNDS)); ask(); }), share, button("leave-end", "Close", leave));
    root.dataset.round = "score";
    root.replaceChildren(head, verdict, row);
    row.firstChild.focus({ preventScroll: true });
  }
  function leave() {
    stopSound();
    close();
  }
  ask();
  return root;
}
