/* oxlint-disable consistent-function-scoping, require-post-message-target-origin -- all of a worker's text is one function */
/* A network in a worker of its own. The text of networkWorker becomes the worker's: it refers to nothing outside itself.
   What comes in: { kind: "load" | "clip" | "listen" | "stop", … }; what goes out: { kind: "ready" | "answer" | "error", … }. */
export function networkWorker() {
  const SILENT = .001, FAINT = .01, QUIET = .05, LOUD = .5, MARGIN = .05;    // as of frami.audio_input, and of live listening
  const BETA = 8.6, ZEROS = 32, PASS = .92;    // of the resampler: Kaiser's beta, zero crossings a side, share of the band that is kept
  let ort = null, session = null, rate = 0, listening = null;
  // what computes on a visitor's sound cannot send it anywhere
  const disarm = () => ["fetch", "XMLHttpRequest", "WebSocket", "EventSource", "WebTransport", "importScripts", "BroadcastChannel", "indexedDB", "caches"].forEach(name => {
    try { Object.defineProperty(self, name, { value: undefined }); } catch { /* not there */ }
  });

  const bessel = x => { let sum = 1, term = 1; for (let k = 1; k < 40; k++) { term *= (x / 2 / k) ** 2; sum += term; } return sum; };
  const divisor = (a, b) => b ? divisor(b, a % b) : a;
  /* From one whole sample rate to another, block by block: a sinc in Kaiser's window, a table of taps for each phase. */
  function resampler(from, to) {
    if (from === to) return block => block;
    const common = divisor(from, to), up = to / common, down = from / common, cut = PASS * Math.min(1, up / down), half = Math.ceil(ZEROS / cut);
    const taps = Array.from({ length: up }, (_, phase) => {
      const row = Float32Array.from({ length: 2 * half }, (__, k) => {
        const x = k - half + 1 - phase / up, sinc = x === 0 ? 1 : Math.sin(Math.PI * cut * x) / (Math.PI * cut * x);
        return cut * sinc * bessel(BETA * Math.sqrt(Math.max(0, 1 - (x / half) ** 2))) / bessel(BETA);
      });
      const sum = row.reduce((all, one) => all + one, 0);
      return row.map(one => one / sum);
    });
    let kept = new Float32Array(half - 1), at = 0, phase = 0;    // at: of the first tap, in what is kept
    return block => {
      const all = new Float32Array(kept.length + block.length), out = [];
      all.set(kept);
      all.set(block, kept.length);
      while (at + 2 * half <= all.length) {
        const row = taps[phase];
        let sum = 0;
        for (let k = 0; k < row.length; k++) sum += row[k] * all[at + k];
        out.push(sum);
        phase += down;
        at += Math.floor(phase / up);
        phase %= up;
      }
      const from0 = Math.min(at, all.length);
      kept = all.slice(from0);
      at -= from0;
      return Float32Array.from(out);
    };
  }

  const peakOf = x => { let most = 0; for (const value of x) most = Math.max(most, Math.abs(value)); return most; };
  /* Without its quiet ends, raised if it is quiet: as frami.audio_input prepares a sound. */
  function prepared(x) {
    const step = Math.max(1, Math.floor(rate / 100)), levels = [];
    for (let i = 0; i + step <= x.length; i += step) levels.push(peakOf(x.subarray(i, i + step)));
    const peak = peakOf(x);
    let cut = x;
    if (levels.length >= 3) {
      const sorted = Float32Array.from(levels).toSorted(), place = .1 * (sorted.length - 1), low = Math.floor(place), top = sorted[sorted.length - 1];
      const tenth = sorted[low] + (place - low) * (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]);
      const threshold = Math.min(Math.max(.01 * top, 3 * tenth), .1 * top), loud = levels.map(level => level > threshold);
      const first = Math.max(0, loud.indexOf(true) * step - Math.trunc(MARGIN * rate));
      cut = x.subarray(first, Math.min(x.length, (loud.lastIndexOf(true) + 1) * step + Math.trunc(MARGIN * rate)));
    }
    return peak < QUIET ? cut.map(value => value * LOUD / peak) : cut.slice();
  }
  async function answer(sound, more, least) {
    const peak = peakOf(sound);
    if (peak < least) { postMessage({ kind: "answer", peak, quiet: true, ...more }); return; }
    const began = performance.now(), samples = prepared(sound);
    const found = await session.run({ waveform: new ort.Tensor("float32", samples, [1, samples.length]) });
    const milliseconds = performance.now() - began, logits = Float32Array.from(found.logits.data);
    found.logits.dispose?.();
    postMessage({ kind: "answer", peak, logits, samples, milliseconds, ...more });
  }

  /* Listening: blocks come from the audio thread; whenever `every` seconds are new and nothing computes, one answer. */
  function listen({ port, from, window, every }) {
    const mine = listening = { sound: new Float32Array(Math.round(window * rate)), filled: 0, fresh: 0, busy: false, heard: 0, port };
    const resample = resampler(from, rate);
    port.addEventListener("message", ({ data }) => {
      if (listening !== mine) return;
      const block = resample(data).slice(-mine.sound.length), n = block.length;
      mine.heard = performance.now();
      mine.sound.copyWithin(0, n);
      mine.sound.set(block, mine.sound.length - n);
      mine.filled = Math.min(mine.sound.length, mine.filled + n);
      mine.fresh += n;
      if (mine.fresh >= every * rate && !mine.busy && mine.filled >= .3 * rate) {
        mine.busy = true;
        setTimeout(run, 0);    // after the blocks that wait
      }
    });
    port.start();
    async function run() {
      if (listening !== mine) return;
      mine.fresh = 0;
      const heard = mine.heard;
      try { await answer(mine.sound.slice(-mine.filled), { live: true, heard: performance.timeOrigin + heard }, FAINT); } catch (error) { postMessage({ kind: "error", message: String(error.message || error) }); }
      mine.busy = false;
    }
  }
  const stop = () => { listening?.port.close(); listening = null; };

  const acts = {
    async load({ script, module, model, sampleRate }) {
      ort = await import(script);
      Object.assign(ort.env.wasm, { numThreads: 1, proxy: false, wasmBinary: module });
      ort.env.logLevel = "error";
      session = await ort.InferenceSession.create(new Uint8Array(model), { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
      rate = sampleRate;
      disarm();
      await session.run({ waveform: new ort.Tensor("float32", new Float32Array(rate >> 1), [1, rate >> 1]) });    // the first is slower
      postMessage({ kind: "ready" });
    },
    clip: ({ samples, number }) => answer(samples, { number }, SILENT),
    listen: async given => { stop(); listen(given); },
    stop: async () => stop(),
    resample: async ({ samples, from, to, blocks, number }) => {
      const push = resampler(from, to), parts = [];
      for (let i = 0; i < samples.length; i += blocks) parts.push(...push(samples.subarray(i, i + blocks)));
      postMessage({ kind: "answer", resampled: Float32Array.from(parts), number });
    },
  };
  self.addEventListener("message", ({ data }) => {
    acts[data.kind](data).catch(error => postMessage({ kind: "error", message: String(error.message || error), number: data.number }));
  });
}
