/* FRAMI Studio in the browser: draws spectrograms, plays clips, keeps the one selected sample.
   Values come from Python as JSON; text goes into the page by textContent only. */
window.frami = (() => {
  "use strict";
  const sounds = new Map();            // clip id -> promise of a playable address
  const player = new Audio();
  const additions = [];                // what other tabs add to the detail panel: add(root, selected)
  const voices = { frami: "FRAMI", "griffin-lim": "Griffin-Lim" };   // vocoders to hear made clips with
  let selected = null, voice = "frami", drawDetail = () => {};

  // ---- colours: the magma map (van der Walt and Smith, CC0), interpolated between its anchors
  const anchors = [[0,0,4],[28,16,68],[79,18,123],[129,37,129],[181,54,122],[229,80,100],[251,135,97],[254,194,135],[252,253,191]];
  const magma = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const at = i / 255 * (anchors.length - 1), k = Math.min(anchors.length - 2, Math.floor(at)), w = at - k;
    const c = anchors[k].map((v, j) => Math.round(v + w * (anchors[k + 1][j] - v)));
    magma[i] = 255 << 24 | c[2] << 16 | c[1] << 8 | c[0];
  }
  const series = { "class": "--frami-s1", batch_norm: "--frami-s2", contrast: "--frami-s3", adversarial: "--frami-s4", confidence: "--frami-s5",
    balance: "--frami-s6", activation: "--frami-s7", variation: "--frami-s8" };

  const el = (tag, cls, text) => {
    const e = document.createElement(tag);
    if (cls) e.className = cls;
    if (text !== undefined) e.textContent = text;
    return e;
  };
  const percent = p => `${Math.round(100 * p)} %`;

  // ---- spectrograms: 0..255 is floor..ceiling; the picture shows its upper part
  function shade(axis) {
    const span = axis.high - axis.low, from = Math.max(axis.low, axis.high - 95), to = axis.high - 8;
    const table = new Uint32Array(256);
    for (let i = 0; i < 256; i++) {
      const dB = axis.low + span * i / 255;
      table[i] = magma[Math.round(255 * Math.min(1, Math.max(0, (dB - from) / (to - from))))];
    }
    return { table, from, to };
  }
  function paint(canvas, clip, axis) {
    const bytes = Uint8Array.from(atob(clip.mel), c => c.charCodeAt(0));
    const { table } = axis.shade || (axis.shade = shade(axis));
    canvas.width = clip.frames; canvas.height = axis.bands;
    const context = canvas.getContext("2d"), image = context.createImageData(clip.frames, axis.bands);
    const pixels = new Uint32Array(image.data.buffer);
    for (let f = 0; f < axis.bands; f++)
      for (let t = 0; t < clip.frames; t++)
        pixels[(axis.bands - 1 - f) * clip.frames + t] = table[bytes[f * clip.frames + t]];
    context.putImageData(image, 0, 0);
  }

  // ---- sound
  const voiced = id => /^(gallery|run|explore)\//.test(id) ? `${id}~${voice}` : id;
  function speak(name) {
    voice = name;
    document.querySelectorAll(".frami-detail .voices button").forEach(b => b.setAttribute("aria-pressed", String(b.dataset.voice === voice)));
  }
  async function address(clip, server) {
    const id = voiced(clip.id);
    let entry = sounds.get(id);
    if (!entry || entry.mel !== clip.mel) {         // a forming clip keeps its id while its sound changes
      entry?.url.then(URL.revokeObjectURL, () => {});
      entry = { mel: clip.mel, url: fetchSound(id, server) };
      sounds.set(id, entry);
    }
    try { return await entry.url; } catch (error) { sounds.delete(id); throw error; }
  }
  async function fetchSound(id, server) {
    const reply = await server.wav(id);
    if (!reply || reply.error) throw new Error(reply ? reply.error : "no answer from the server");
    const bytes = Uint8Array.from(atob(reply.data), c => c.charCodeAt(0));
    return URL.createObjectURL(new Blob([bytes], { type: bytes[0] === 0x66 ? "audio/flac" : "audio/wav" }));
  }
  async function play(clip, server) {
    try {
      player.src = await address(clip, server);
      player.dataset.clip = clip.id;
      player.currentTime = 0;
      await player.play();
    } catch (error) {
      if (error.name !== "AbortError") note(error.message || String(error));
    }
  }
  function note(text) {
    const box = document.querySelector(".frami-detail .note");
    if (box) box.textContent = text;
  }
  // the line that moves over the picture while its clip sounds
  function follow() {
    const on = !player.paused && !player.ended && player.duration > 0;
    const share = on ? player.currentTime / player.duration : 0;
    document.querySelectorAll(".frami-tile, .frami-detail .picture").forEach(box => {
      const mine = on && box.dataset.id === player.dataset.clip;
      box.classList.toggle("playing", mine);
      if (mine) box.querySelector(".playhead").style.left = `${100 * share * (box.classList.contains("picture") ? 1 : width(box))}%`;
    });
    if (on) requestAnimationFrame(follow);
  }
  ["play", "pause", "ended"].forEach(name => player.addEventListener(name, follow));

  function select(clip, axis, server, forming) {
    selected = { clip, axis, server, forming };
    document.querySelectorAll(".frami-tile").forEach(t => t.setAttribute("aria-pressed", String(t.dataset.id === clip.id)));
    document.querySelectorAll(".frami-wall, .frami-live").forEach(rove);
    drawDetail();
    return play(clip, server);
  }

  // the part of its tile that a clip's picture takes: tiles on one wall share one scale of time
  const width = box => box.clip.frames / Math.max(box.clip.frames, box.longest || 0);

  // ---- a tile: one clip as a button; arrow keys walk along the wall
  function tile(clip, axis, server, state, longest) {
    const button = el("button", "frami-tile");
    button.type = "button";
    button.append(el("canvas"), el("span", "playhead"), el("span", "name"), el("span", "share"));
    button.addEventListener("click", () => select(button.clip, button.axis, server, button.forming));
    button.addEventListener("keydown", event => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      const all = [...button.closest(".frami-wall, .frami-live").querySelectorAll(".frami-tile")];
      const next = all[all.indexOf(button) + step];
      if (next) { event.preventDefault(); next.focus(); next.click(); }
    });
    update(button, clip, axis, state, longest);
    return button;
  }
  function update(button, clip, axis, state, longest) {
    const same = button.clip && button.clip.mel === clip.mel;
    button.clip = clip; button.axis = axis; button.longest = longest; button.forming = state === "forming";
    button.dataset.id = clip.id;
    button.dataset.state = state;
    button.classList.toggle("missed", clip.predicted !== clip.target);
    if (!same) paint(button.firstChild, clip, axis);
    button.querySelector(".name").textContent = clip.target;
    button.querySelector(".share").textContent =
      clip.predicted === clip.target ? percent(clip.confidence) : `heard as ${clip.predicted}`;
    button.title = clip.predicted === clip.target ? clip.target : `${clip.target}, heard as ${clip.predicted}`;
    button.setAttribute("aria-label", `${clip.untargeted ? "" : `${clip.target}, `}heard as ${clip.predicted}, ${percent(clip.confidence)} sure. Play`);
    button.setAttribute("aria-pressed", String(!!selected && selected.clip.id === clip.id));
    button.firstChild.style.width = `${100 * width(button)}%`;
  }
  function fill(box, clips, axis, server, state, longest) {
    const have = new Map([...box.children].map(b => [b.dataset.id, b]));
    clips.forEach((clip, i) => {
      let button = have.get(clip.id);
      if (button) { have.delete(clip.id); update(button, clip, axis, state, longest); }
      else button = tile(clip, axis, server, state, longest);
      if (box.children[i] !== button) box.insertBefore(button, box.children[i] || null);
    });
    have.forEach(b => b.remove());
  }

  // One tile of a wall is a tab stop, the arrows walk from there.
  function rove(root) {
    const all = [...root.querySelectorAll(".frami-tile")];
    const stop = all.find(t => t === document.activeElement) || all.find(t => t.getAttribute("aria-pressed") === "true") || all[0];
    all.forEach(t => { t.tabIndex = t === stop ? 0 : -1; });
  }

  // ---- Listen: groups of tiles
  function wall(element, props, server, watch) {
    const root = element.querySelector(".frami-wall");
    const draw = () => {
      const value = props.value || {};
      const longest = Math.max(0, ...(value.groups || []).flatMap(g => g.clips.map(c => c.frames)));
      root.replaceChildren();
      if (value.message) root.append(el("p", "frami-empty", value.message));
      for (const group of value.groups || []) {
        const box = el("section", "frami-group");
        box.append(el("h3", "", group.title));
        const tiles = el("div", "frami-tiles");
        fill(tiles, group.clips, value.axis, server, "done", longest);
        box.append(tiles);
        root.append(box);
      }
      if (selected && selected.clip.id.startsWith("gallery/") && !root.querySelector(`[data-id="${CSS.escape(selected.clip.id)}"]`)) {
        selected = null;
        player.pause();
        drawDetail();
      }
      rove(root);
      root.dataset.clips = (value.groups || []).reduce((n, g) => n + g.clips.length, 0);
    };
    watch("value", draw);
    draw();
  }

  // ---- Synthesize: progress, curves, clips that form and clips that are done
  function time(seconds) {
    if (!(seconds >= 0)) return "";
    return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
  }
  function live(element, props, server, watch) {
    const root = element.querySelector(".frami-live");
    const status = el("p", "status"), remarks = el("p", "remarks"), bar = el("div", "bar"), fillBar = el("div"), curves = el("div", "curves");
    const forming = el("div", "frami-tiles"), done = el("div", "frami-tiles");
    const formingTitle = el("h3", "", "Forming"), doneTitle = el("h3", "", "Done");
    const spoken = el("p", "frami-spoken");
    spoken.setAttribute("role", "status");
    bar.setAttribute("role", "progressbar");
    bar.setAttribute("aria-label", "Progress of the run");
    bar.append(fillBar);
    root.append(status, spoken, bar, remarks, curves, formingTitle, forming, doneTitle, done);
    const draw = () => {
      const value = props.value || {};
      const finished = (props.finished || []).filter(c => value.run && c.id.startsWith(`run/${value.run}/`));
      root.dataset.state = value.state || "idle";
      root.dataset.step = value.step || 0;
      root.dataset.finished = finished.length;
      status.textContent = words(value, finished);
      const brief = value.state === "running" ? `Running, batch ${value.batch} of ${value.batches}` : status.textContent;
      if (spoken.textContent !== brief && value.run) spoken.textContent = brief;
      remarks.textContent = (value.notes || []).join(" · ");
      remarks.hidden = !remarks.textContent;
      bar.setAttribute("aria-valuenow", Math.round(100 * (value.share || 0)));
      fillBar.style.width = `${100 * (value.share || 0)}%`;
      bar.hidden = !["running", "waiting"].includes(value.state);
      plots(curves, value);
      const now = value.clips || [];
      formingTitle.hidden = forming.hidden = !now.length;
      doneTitle.hidden = done.hidden = !finished.length;
      if (value.axis) {
        const longest = Math.max(...now.map(c => c.frames), ...finished.map(c => c.frames));
        fill(forming, now, value.axis, server, "forming", longest);
        fill(done, finished, value.axis, server, "done", longest);
      }
      rove(root);
      // Generate was disabled under the reader's fingers: go on at Stop
      if (value.state === "running" && document.activeElement === document.body && !root.dataset.moved) {
        root.dataset.moved = "1";
        document.querySelector("button#stop:not([disabled])")?.focus({ preventScroll: true });
      }
      if (value.state !== "running") delete root.dataset.moved;
      if (selected && selected.forming) {
        const still = now.find(c => c.id === selected.clip.id), end = finished.find(c => c.id === selected.clip.id);
        if (still || end) { selected.clip = end || still; selected.forming = !end; drawDetail(); }
      }
    };
    watch(["value", "finished"], draw);
    draw();
  }
  function words(value, finished) {
    const good = finished.filter(c => c.predicted === c.target).length;
    const classes = new Set(finished.map(c => c.predicted)).size;
    const kept = !finished.length ? "nothing was finished"
      : value.untargeted ? `${finished.length} clips of ${classes} class${classes > 1 ? "es" : ""}`
      : `${finished.length} clips, ${good} heard as asked`;
    const who = value.teacher ? `${value.teacher} · ${value.recipe} · ` : "";
    switch (value.state) {
      case "waiting": return value.ahead ? `Waiting for ${value.ahead} other run${value.ahead > 1 ? "s" : ""} on this machine…` : "Starting…";
      case "running": return `${who}batch ${value.batch} of ${value.batches}, step ${value.step} of ${value.steps} · ` +
        `teacher ${percent(value.confidence)} sure · ${time(value.left)} left`;
      case "done": return value.seconds ? `${who}done in ${time(value.seconds)}: ${kept}. Click one to hear it.` : `${who}your last run: ${kept}.`;
      case "stopped": return !value.step ? "Stopped before it began." : `${who}stopped at step ${value.step} of ${value.steps}: ${kept}. What was made is kept.`;
      case "error": return value.message || "The run failed.";
      default: return "Press Generate. Noise turns into pictures that the teacher recognises, step by step; each can be heard while it forms.";
    }
  }
  function plots(box, value) {
    const curves = value.curves || {}, names = Object.keys(curves).filter(n => curves[n].length > 1);
    box.hidden = !names.length;
    const have = new Map([...box.children].map(c => [c.dataset.name, c]));
    for (const name of names) {
      let figure = have.get(name);
      have.delete(name);
      if (!figure) {
        figure = el("figure", "curve");
        figure.dataset.name = name;
        figure.append(el("figcaption"), el("canvas"));
        figure.firstChild.append(el("b", "", name.replace("_", " ")), el("span", "now"));
        figure.title = name === "confidence" ? `the teacher's mean probability of the class ${value.untargeted ? "that it hears" : "asked for"}` : (value.hints || {})[name] || "";
        box.append(figure);
      }
      const points = curves[name], last = points[points.length - 1];
      figure.querySelector(".now").textContent = name === "confidence" ? percent(last) : Math.abs(last) < 1000 ? last.toPrecision(3) : Math.round(last);
      line(figure.querySelector("canvas"), points, series[name], name === "confidence");
    }
    have.forEach(f => f.remove());
  }
  function line(canvas, points, variable, share) {
    const ratio = window.devicePixelRatio || 1, w = canvas.clientWidth || 160, h = canvas.clientHeight || 44;
    canvas.width = w * ratio; canvas.height = h * ratio;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const most = Math.max(...points), low = share ? 0 : Math.min(0, ...points);
    const high = share ? 1 : most > 0 ? most : Math.max(most, low + 1e-9);   // a term that is never positive fills its box too
    const style = getComputedStyle(canvas);
    context.strokeStyle = style.getPropertyValue("--frami-line");
    context.beginPath(); context.moveTo(0, h - .5); context.lineTo(w, h - .5); context.stroke();
    context.strokeStyle = style.getPropertyValue(variable) || "#b5306f";
    context.lineWidth = 2; context.lineJoin = "round";
    context.beginPath();
    points.forEach((p, i) => {
      const x = i / (points.length - 1) * (w - 2) + 1, y = h - 2 - (p - low) / (high - low) * (h - 5);
      i ? context.lineTo(x, y) : context.moveTo(x, y);
    });
    context.stroke();
  }

  // ---- the detail panel: built once a clip, renewed in place while the clip forms
  function detail(element) {
    const root = element.querySelector(".frami-detail");
    const empty = () => {
      root.dataset.id = "";
      root.closest("#detail")?.classList.remove("filled");
      root.replaceChildren(el("p", "frami-empty", "Click a picture to hear it. Here you see it large, and what else the teacher hears in it."));
    };
    drawDetail = () => {
      if (!selected) return empty();
      const { clip, axis } = selected;
      if (root.dataset.id !== clip.id) {
        root.dataset.id = clip.id;
        root.closest("#detail")?.classList.add("filled");
        const head = el("div", "head"), again = el("button", "again", "▶"), close = el("button", "close", "×");
        again.type = close.type = "button";
        again.setAttribute("aria-label", "Play again");
        close.setAttribute("aria-label", "Close");
        again.addEventListener("click", () => play(selected.state || selected.clip, selected.server));
        close.addEventListener("click", clear);
        const title = el("div", "title"), problem = el("p", "note");
        problem.setAttribute("role", "alert");
        title.append(el("b"), el("span"));
        head.append(again, title, close);
        root.replaceChildren(head, spectrogram(clip, axis), compare(clip), el("div", "way"), el("div", "bars"), el("p", "meta"), problem);
      }
      const shown = selected.state || clip, picture = root.querySelector(".picture");
      picture.dataset.id = shown.id;
      paint(picture.querySelector("canvas"), shown, axis);
      root.querySelector(".title b").textContent = clip.target;
      root.querySelector(".title span").textContent = selected.state ? `at step ${shown.step} heard as ${shown.predicted}, ${percent(shown.top[0][1])} sure`
        : clip.untargeted ? `heard in it, ${percent(clip.confidence)} sure; no class was asked for`
        : clip.predicted === clip.target ? `heard as asked, ${percent(clip.confidence)} sure` : `but heard as ${clip.predicted}`;
      bars(root.querySelector(".bars"), shown, clip);
      way(root.querySelector(".way"), selected);
      meta(root.querySelector(".meta"), selected);
      additions.forEach(add => add(root, selected));
    };
    drawDetail();
  }
  function spectrogram(clip, axis) {
    const { from, to } = axis.shade || (axis.shade = shade(axis));
    const plot = el("div", "plot"), ylab = el("div", "y"), picture = el("div", "picture"), canvas = el("canvas"), xlab = el("div", "x");
    picture.dataset.id = clip.id;
    picture.append(canvas, el("span", "playhead"));
    for (const [label, band] of axis.ticks) {
      const tick = el("span", "", label);
      tick.style.bottom = `${100 * (band + .5) / axis.bands}%`;
      ylab.append(tick);
    }
    const seconds = clip.frames * axis.frame, step = [.1, .2, .5, 1, 2].find(s => seconds / s <= 5) || 5;
    for (let t = 0; t <= seconds + 1e-9; t += step) {
      const tick = el("span", "", t.toFixed(step < 1 ? 1 : 0));
      tick.style.left = `${100 * t / seconds}%`;
      xlab.append(tick);
    }
    const key = el("div", "key"), ramp = el("div", "ramp");
    key.append(el("span", "", `${Math.round(to)}`), ramp, el("span", "", `${Math.round(from)}`), el("span", "unit", "dB"));
    plot.append(el("span", "unit kilo", "kHz"), ylab, picture, key, xlab, el("span", "unit second", "s"));
    return plot;
  }
  // ---- the same clip with one vocoder or the other
  function compare(clip) {
    const box = el("div", "voices");
    if (clip.real || voiced(clip.id) === clip.id) return box;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", "Vocoder: hear the same clip with");
    for (const [name, title] of Object.entries(voices)) {
      const button = el("button", "", title);
      button.type = "button";
      button.dataset.voice = name;
      button.setAttribute("aria-pressed", String(name === voice));
      button.addEventListener("click", () => { speak(name); play(selected.state || selected.clip, selected.server); });
      box.append(button);
    }
    return box;
  }
  // ---- how a finished clip came to be: its kept states, asked for once, when it is first looked at
  const ways = new Map();
  async function statesOf(clip, server) {
    if (!ways.has(clip.id)) {
      ways.set(clip.id, server.states(clip.id).catch(() => []));
      if (ways.size > 40) ways.delete(ways.keys().next().value);
    }
    return ways.get(clip.id);
  }
  async function way(box, { clip, server, forming }) {
    if (forming || !server?.states) { box.replaceChildren(); return; }
    if (box.dataset.id === clip.id) { if (!selected.state) box.rewind?.(); return; }
    box.dataset.id = clip.id;
    const states = await statesOf(clip, server);
    if (box.dataset.id !== clip.id || !(states?.length > 1)) return;
    const last = states.length - 1, label = el("label"), words = el("span"), slider = el("input");
    Object.assign(slider, { type: "range", min: 0, max: last, step: 1, value: last });
    label.append(el("b", "", "How it came to be"), words, slider);
    const tell = k => {
      words.textContent = `step ${states[k].step} of ${states[last].step}`;
      slider.setAttribute("aria-valuetext", words.textContent);
    };
    slider.addEventListener("input", () => {
      const k = Number(slider.value);
      selected.state = k === last ? null : states[k];
      player.pause();
      tell(k);
      drawDetail();
    });
    box.rewind = () => { slider.value = last; tell(last); };
    box.rewind();
    box.replaceChildren(label);
  }
  function bars(box, clip, { target } = clip) {
    box.replaceChildren(el("h4", "", clip.step ? `What the teacher hears at step ${clip.step}` : "What the teacher hears"));
    for (const [label, share] of clip.top) {
      const row = el("div", "row"), track = el("div", "track"), value = el("div");
      value.style.width = `${100 * share}%`;
      track.append(value);
      row.append(el("span", "label", label), track, el("span", "value", percent(share)));
      if (label === target) row.classList.add("target");
      box.append(row);
    }
  }
  function meta(box, { clip, axis, server, forming }) {
    const text = `${(clip.frames * axis.frame).toFixed(2)} s · ${clip.origin}`;
    if (forming) return box.replaceChildren(text);
    const link = el("a", "save", "Save sound");
    link.href = "#";
    link.addEventListener("click", async event => {
      event.preventDefault();
      const shown = selected?.state || clip;
      try {
        const file = document.createElement("a");
        file.href = await address(shown, server);
        file.download = `frami-${clip.target}-${shown.id.replace(/[/@]/g, "-")}`;
        file.click();
      } catch (error) { note(error.message); }
    });
    box.replaceChildren(text, " · ", link);
  }
  function clear() {
    selected = null;
    player.pause();
    document.querySelectorAll('.frami-tile[aria-pressed="true"]').forEach(tile => tile.setAttribute("aria-pressed", "false"));
    drawDetail();
  }
  // On a phone the detail lies over the page: it would cover what another tab shows.
  document.addEventListener("click", event => {
    if (selected && matchMedia("(max-width: 760px)").matches && event.target.closest('[role="tab"]')) clear();
  });
  return { wall, live, detail, player, play, speak, voiced, select, clear, additions, paint, spectrogram, el, percent, magma, get selected() { return selected; } };
})();
