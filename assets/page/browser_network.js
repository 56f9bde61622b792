/* oxlint-disable require-post-message-target-origin -- a worker has none */
/* A network that runs in this browser: fetched once, then without any request. */
import { networkWorker } from "./browser_worker.js";
import { openMicrophone } from "./capture.js";

const nothing = () => {};
const EVERY = .1, GATHERED = .02;    // seconds between answers, and of a block of the microphone

/* Bytes of a file, told as they come: told(bytes so far, all bytes or 0). */
export async function fetchedBytes(url, told = nothing) {
  let reply;
  try { reply = await fetch(url); } catch { throw new Error(location.protocol === "file:" ? "A page that is opened as a file may fetch nothing. Open it from a web server, as of: python3 -m http.server" : "The network is not reached: what runs here could not be fetched."); }
  if (!reply.ok) throw new Error(`What runs here could not be fetched (${reply.status}).`);
  const all = Number(reply.headers.get("content-length")) || 0, parts = [], reader = reply.body.getReader();
  let sum = 0;
  for (;;) {
    const { done, value } = await reader.read();    // oxlint-disable-line no-await-in-loop -- as they come
    if (done) break;
    parts.push(value);
    told(sum += value.length, all);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}
/* What is compressed is unpacked, unless the server or the browser has done that on the way. */
async function unpacked(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  if (!window.DecompressionStream) throw new Error("This browser is too old to run a network: it cannot unpack the runtime. Chrome 110, Firefox 115 and Safari 16.4 can.");
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}

let runtimeHere = null;    // of this page: { script, module }, a promise
function runtimeOf({ script, module }, told) {
  runtimeHere ??= Promise.all([fetchedBytes(script), fetchedBytes(module, told).then(unpacked)])
    .then(([text, binary]) => ({ script: URL.createObjectURL(new Blob([text], { type: "text/javascript" })), module: binary }));
  runtimeHere.catch(() => { runtimeHere = null; });
  return runtimeHere;
}

/* Fetch the runtime ({ script, module }: addresses) and a network, and start it. model: resolves to its { bytes, about:
   { rate, window, classes, multilabel } }; told(share): of what is fetched; sealed(): all is here. Resolves to what runs
   it, which knows `about`. */
export async function openNetwork({ runtime, model, told = nothing, sealed = nothing }) {
  const [here, { bytes, about }] = await Promise.all([runtimeOf(runtime, (sum, all) => told(all ? sum / all : 0)), model()]);
  sealed();
  const url = URL.createObjectURL(new Blob([`(${networkWorker})()`], { type: "text/javascript" }));
  const worker = new Worker(url, { type: "module" }), waiting = new Map();
  let onLive = nothing, mic = null, number = 0, turn = 0, ready, broken;
  const begun = new Promise((done, failed) => { ready = done; broken = failed; });
  worker.addEventListener("error", event => { event.preventDefault(); broken(new Error(event.message || "The network could not be started in this browser.")); });
  worker.addEventListener("message", ({ data }) => {
    const known = waiting.get(data.number);
    if (data.kind === "ready") ready();
    else if (known) { waiting.delete(data.number); if (data.kind === "error") known.failed(new Error(data.message)); else known.done(data); }
    else if (data.kind === "error") { broken(new Error(data.message)); onLive(data); }
    else if (data.live) onLive(data);
  });
  worker.postMessage({ kind: "load", script: here.script, module: here.module, model: bytes, sampleRate: about.rate });
  try { await begun; } catch (error) { worker.terminate(); throw error; } finally { URL.revokeObjectURL(url); }

  const asked = (message, moved = []) => new Promise((done, failed) => {
    waiting.set(++number, { done, failed });
    worker.postMessage({ ...message, number }, moved);
  });
  function stop() {
    turn++;
    mic?.stop();
    mic = null;
    onLive = nothing;
    worker.postMessage({ kind: "stop" });
  }
  return {
    about,
    stop,
    close: () => { stop(); worker.terminate(); },
    /* The answer to a sound, Float32Array at the network's rate: { logits, samples, milliseconds } or { quiet }. */
    clip: samples => asked({ kind: "clip", samples }),
    /* A sound at another rate, in blocks as a microphone gives them. */
    resampled: (samples, from, blocks = 960) => asked({ kind: "resample", samples, from, to: about.rate, blocks }).then(({ resampled }) => resampled),
    /* Answers to the microphone, ten a second, until stop(). Resolves to the rate that it has. */
    async listen(onAnswer, onEnd) {
      stop();
      const mine = turn, { port1, port2 } = new MessageChannel();
      const opened = await openMicrophone({ port: port1, rate: about.rate, seconds: GATHERED, onEnd });
      if (mine !== turn) { opened.stop(); return 0; }
      mic = opened;
      onLive = onAnswer;
      worker.postMessage({ kind: "listen", port: port2, from: opened.rate, window: about.window, every: EVERY }, [port2]);
      return opened.rate;
    },
  };
}
