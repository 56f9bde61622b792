/* Where a sound to try comes from: the microphone (by click, while a button is held, or live), or a file. */
import { microphoneTrouble, openMicrophone } from "./capture.js";
import { button, duration, el, NO_ANSWER, percent } from "./core.js";

const LONGEST_TAKE = 30, SHORTEST_TAKE = .15, PIECE_SECONDS = .25, PIECE_BYTES = 3000, FASTEST = 24_000;
const LIVE_STUDENTS = 8;        // that listen at a time, as the studio allows

const joined = blocks => {
  const all = new Float32Array(blocks.reduce((sum, one) => sum + one.length, 0));
  blocks.reduce((at, one) => (all.set(one, at), at + one.length), 0);
  return all;
};
const sixteenBit = samples => Int16Array.from(samples, value => Math.round(32767 * Math.max(-1, Math.min(1, value))));
export function wavFile(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length)), text = (at, word) => [...word].forEach((sign, i) => view.setUint8(at + i, sign.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * samples.length, true); text(8, "WAVEfmt ");
  [[16, 16, 4], [20, 1, 2], [22, 1, 2], [24, rate, 4], [28, 2 * rate, 4], [32, 2, 2], [34, 16, 2]].forEach(([at, value, size]) => size === 4 ? view.setUint32(at, value, true) : view.setUint16(at, value, true));
  text(36, "data"); view.setUint32(40, 2 * samples.length, true);
  sixteenBit(samples).forEach((value, i) => view.setInt16(44 + 2 * i, value, true));
  return new File([view], "recording.wav", { type: "audio/wav" });
}
/* At a rate that is enough for the networks: means of neighbours. */
function thinned(samples, rate) {
  const by = Math.ceil(rate / FASTEST), less = new Float32Array(Math.floor(samples.length / by));
  for (let i = 0; i < less.length; i++) { let sum = 0; for (let k = 0; k < by; k++) sum += samples[i * by + k]; less[i] = sum / by; }
  return [less, Math.round(rate / by)];
}
function packed(samples) {
  const bytes = new Uint8Array(sixteenBit(samples).buffer), texts = [];
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) texts.push(btoa(String.fromCharCode(...bytes.subarray(at, at + PIECE_BYTES))));
  return texts;
}

frami.source = (element, props, server, watch, trigger, upload) => {
  const root = element.querySelector(".frami-source"), status = el("p", "status"), meter = el("div", "meter"), answer = el("div", "live");
  const takes = el("div", "takes"), file = el("input"), drop = el("label", "drop");
  let going = null;   // { mode, blocks, seconds, mic }
  status.setAttribute("role", "status");
  meter.append(el("div"));
  const record = button("record", "Record", () => going ? end() : begin("record"));
  const hold = button("hold", "Hold to record", () => {});
  const live = button("live-button", "Listen live", () => going ? end() : begin("live"));
  takes.append(record, hold, live);
  Object.assign(file, { type: "file", multiple: false });
  file.setAttribute("aria-label", "Choose a sound or video file");
  drop.append(file, el("b", "", "Choose a file"), el("span", "", "or drop it here: a voice memo, a recording, a video"));
  root.append(takes, meter, status, answer, drop);

  const say = text => { status.textContent = text; };
  const mark = () => {
    root.dataset.mode = going?.mode || "";
    record.textContent = going?.mode === "record" ? "Stop" : "Record";
    live.textContent = going?.mode === "live" ? "Stop listening" : "Listen live";
    record.disabled = Boolean(going) && going.mode !== "record";
    live.disabled = Boolean(going) && going.mode !== "live";
    hold.disabled = Boolean(going) && going.mode !== "hold";
  };
  async function send(one) {
    say("Sending…");
    try {
      const { path } = await upload(one);
      say("");
      trigger("upload", { path });
    } catch (error) { say(frami.plainly(error.message || String(error))); }
  }
  async function begin(mode) {
    const mine = going = { mode, blocks: [], seconds: 0, since: performance.now() };
    mark();
    answer.replaceChildren();
    say("Asking for the microphone…");
    try {
      const mic = await openMicrophone({ onBlock: block => heard(mine, block) });
      if (going !== mine) { mic.stop(); return; }
      mine.mic = mic;
      say(mode === "live" ? `Listening. It ends when you leave, at the latest after ${duration(props.stretch)}.` : mode === "hold" ? "Speak; let go to end." : "Recording…");
      if (mode === "live") follow(mine);
    } catch (error) {
      if (going === mine) { going = null; mark(); }
      say(microphoneTrouble(error));
    }
  }
  function heard(mine, block) {
    if (going !== mine) return;
    mine.blocks.push(block);
    const peak = block.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    mine.seconds += block.length / (mine.mic?.rate || 48_000);
    const now = performance.now();
    if (now - (mine.drawn || 0) > 60) {
      mine.drawn = now;
      meter.firstChild.style.width = `${Math.min(100, 100 * Math.sqrt(Math.max(peak, mine.peak || 0)))}%`;
      mine.peak = 0;
      if (mine.mode !== "live") say(`${mine.mode === "hold" ? "Speak; let go to end." : "Recording…"} ${mine.seconds.toFixed(1)} s`);
    } else mine.peak = Math.max(mine.peak || 0, peak);
    if (mine.mode !== "live" && mine.seconds >= LONGEST_TAKE) end();
  }
  function end(words = "") {
    const mine = going;
    if (!mine) return;
    going = null;
    mine.mic?.stop();
    meter.firstChild.style.width = "0";
    mark();
    say(words);
    if (mine.mode === "live") return;
    if (!mine.mic || mine.seconds < SHORTEST_TAKE) { say(mine.mode === "hold" ? "Too short: keep it held while you speak." : "Too short: nothing was recorded."); return; }
    send(wavFile(joined(mine.blocks), mine.mic.rate));
  }
  /* Live: what was gathered goes to the studio at least every half second; one piece at a time. */
  function follow(mine) {
    mine.session = Array.from(crypto.getRandomValues(new Uint8Array(12)), n => n.toString(16).padStart(2, "0")).join("");
    mine.fresh = true;
    mine.turn = () => setTimeout(listen, 1000 * PIECE_SECONDS, mine);
    mine.turn();
  }
  async function listen(mine) {
    if (going !== mine) return;
    if (document.hidden || !root.offsetParent) { end("Listening ended: the page was left."); return; }
    const [piece, rate] = thinned(joined(mine.blocks.splice(0)), mine.mic.rate), asked = performance.now();
    if (!piece.length) { mine.turn(); return; }
    const students = [...document.querySelectorAll("#try-students label")].filter(one => one.querySelector("input:checked")).slice(0, LIVE_STUDENTS).map(one => one.textContent.trim());
    try {
      const reply = await server.live({ session: mine.session, begin: mine.fresh, teacher: props.value?.teacher, students, rate, pcm: packed(piece.slice(-1.8 * rate)) });
      mine.fresh = false;
      if (going !== mine) return;
      if (!reply || reply.error || reply.state === "ended") { end(reply?.error || reply?.message || NO_ANSWER); return; }
      showLive(reply, performance.now() - asked);
      mine.turn();
    } catch (error) { end(frami.plainly(error.message || String(error))); return; }
  }
  function showLive({ state, networks = [] }, milliseconds) {
    answer.dataset.count = Number(answer.dataset.count || 0) + 1;
    answer.dataset.state = state;
    if (state === "quiet") { if (!answer.children.length) answer.append(el("p", "facts", "Quiet: say something.")); answer.classList.add("past"); return; }
    answer.classList.remove("past");
    answer.replaceChildren(...networks.map(one => {
      const box = el("section"), [[best, share]] = one.top;
      box.append(el("span", "facts", one.title), el("b", "", best), el("span", "value", percent(share)));
      return box;
    }), el("p", "facts", `answered in ${Math.round(milliseconds)} ms`));
  }

  // held: by pointer, or by the space bar while the button has the focus
  const press = event => { event.preventDefault(); hold.focus(); if (!going) begin("hold"); };
  const release = () => { if (going?.mode === "hold") end(); };
  hold.addEventListener("pointerdown", event => { hold.setPointerCapture?.(event.pointerId); press(event); });
  ["pointerup", "pointercancel", "blur"].forEach(name => hold.addEventListener(name, release));
  hold.addEventListener("contextmenu", event => event.preventDefault());
  hold.addEventListener("keydown", event => { if (event.key === " " || event.key === "Enter") { event.preventDefault(); if (!event.repeat) press(event); } });
  hold.addEventListener("keyup", event => { if (event.key === " " || event.key === "Enter") { event.preventDefault(); release(); } });
  file.addEventListener("change", () => { if (file.files[0]) send(file.files[0]); file.value = ""; });
  drop.addEventListener("dragover", event => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", event => { event.preventDefault(); drop.classList.remove("over"); if (event.dataTransfer.files[0]) send(event.dataTransfer.files[0]); });
  addEventListener("pagehide", () => end());
  watch("value", () => { going?.mic?.stop(); going = null; mark(); answer.replaceChildren(); say(""); });
  mark();
};
