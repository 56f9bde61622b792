/* The Distil tab: students that learn, their curves, their figures. Values come from Python as JSON; text goes in by
   textContent only. The runs are asked for again and again as long as the tab is in sight. */
frami.distil = (element, props, server, watch) => {
  "use strict";
  const { el, percent } = frami, root = element.querySelector(".frami-distil");
  const BUSY = ["waiting", "starting", "running", "stopping"], SHARES = ["accuracy", "agreement"], SHOWN = 8;
  const WORDS = { accuracy: "Accuracy", agreement: "Agreement", answer: "Answers", before: "Before pooling", after: "After pooling", attention: "Attention" };
  const MEANS = {
    accuracy: "share of held-out recordings, never heard in training, that are recognised",
    agreement: "share of unseen made clips to which the student gives the teacher's answer",
    answer: "loss: how far the student's answers are from the teacher's",
    before: "loss: how far the hidden state before the pooling is from the teacher's",
    after: "loss: how far the hidden state after the pooling is from the teacher's",
    attention: "loss: how far the attention map is from the teacher's",
  };
  const s = { teacher: null, value: { runs: [], classes: [] }, kept: new Map(), hidden: new Set(), known: new Set(), metric: null, at: null };
  let poll = 0, asking = false, trouble = "";

  // ---- the page's parts
  const part = (name, title) => {
    const box = el("section", name);
    box.append(el("h3", "", title));
    box.hidden = true;
    root.append(box);
    return box;
  };
  const listing = part("listing", "Runs"), list = el("ul", "runs"), alarm = el("p", "alarm"), note = el("p", "note", props.note);
  const chart = part("chart", "How they learn"), segments = el("div", "segments"), stage = el("div", "stage"), canvas = el("canvas"), tip = el("div", "tip"), reading = el("p", "reading");
  const beside = part("beside", "Beside each other"), scroll = el("div", "scroll"), table = el("table"), same = el("p", "reading");
  const confusions = part("confusions", "Who is taken for whom"), matrices = el("div", "matrices"), key = el("p", "reading");
  const said = el("p", "frami-spoken");
  alarm.setAttribute("role", "alert");
  said.setAttribute("role", "status");
  segments.setAttribute("role", "radiogroup");
  segments.setAttribute("aria-label", "Curve");
  canvas.setAttribute("role", "img");
  scroll.tabIndex = 0;
  tip.hidden = true;
  listing.append(list, alarm, note);
  stage.append(canvas, tip);
  chart.append(segments, stage, reading);
  scroll.append(table);
  beside.append(scroll, same);
  confusions.append(matrices, key);
  root.append(said);

  // ---- words
  const number = n => n.toLocaleString("en");
  const time = t => t < 90 ? `${Math.max(0, Math.ceil(t))} s` : t < 5400 ? `${Math.round(t / 60)} min` : `${(t / 3600).toFixed(1)} h`;
  const count = n => n >= 1e6 ? `${(n / 1e6).toFixed(n < 1e7 ? 2 : 0)} M` : n >= 1e3 ? `${(n / 1e3).toFixed(n < 1e4 ? 1 : 0)} k` : String(n);
  const size = n => n >= 1e6 ? `${(n / 1e6).toFixed(2)} MB` : `${Math.round(n / 1e3)} kB`;
  const tenth = p => `${(100 * p).toFixed(1)} %`;
  const colour = run => `var(--frami-r${run.colour})`;
  const css = name => getComputedStyle(root).getPropertyValue(name).trim();
  const shown = () => s.value.runs.filter(run => !s.hidden.has(run.id));
  const curves = run => s.kept.get(run.id)?.curves || {};
  const result = run => s.kept.get(run.id)?.result || {};
  function words(run) {
    const clips = run.latest.clips ? ` · ${number(run.latest.clips)} clips` : "", at = `${Math.floor(100 * run.share)} %`;
    switch (run.status) {
      case "waiting": return run.ahead ? `waits for ${run.ahead} other run${run.ahead > 1 ? "s" : ""}` : "is next";
      case "starting": return "starting…";
      case "running": return !run.latest.clips ? "makes the first clips…" : `${at} · ${run.left == null ? "" : `${time(run.left)} left`}${clips}`;
      case "stopping": return "saves what it has…";
      case "stopped": return run.share > 0 ? `${run.error ? "cut off" : "stopped"} at ${at}${clips}. Resume goes on from what was saved.` : "stopped before it began";
      case "finished": return `done in ${time(result(run).seconds || 0)}${clips}`;
      default: return run.error || "failed";
    }
  }

  // ---- the list of runs: built once a run, renewed in place
  function entry(run) {
    const row = el("li", "run"), label = el("label"), box = el("input"), swatch = el("i"), name = el("b", "", run.title);
    box.type = "checkbox";
    box.addEventListener("change", () => { box.checked ? s.hidden.delete(run.id) : s.hidden.add(run.id); draw(); });
    label.append(box, swatch, name);
    label.title = "Show it in the curves and the table";
    const figure = el("span", "figure"), status = el("span", "status"), bar = el("div", "bar"), buttons = el("div", "buttons");
    bar.append(el("div"));
    const button = (kind, text, work) => {
      const b = el("button", kind, text);
      b.type = "button";
      b.addEventListener("click", () => work(b));
      buttons.append(b);
    };
    button("stop", "Stop", () => act("stop", run.id));
    button("resume", "Resume", () => act("resume", run.id));
    const save = el("select", "save");
    save.setAttribute("aria-label", `Download ${run.title}`);
    save.append(new Option("Download…", ""), ...props.files.map(([kind, text]) => new Option(text, kind)));
    save.addEventListener("change", () => { if (save.value) download(run.id, save); });
    buttons.append(save);
    button("delete", "Delete", b => {
      if (b.dataset.sure) { act("remove", run.id); return; }
      b.dataset.sure = "1";
      b.textContent = "Really delete?";
      setTimeout(() => { delete b.dataset.sure; b.textContent = "Delete"; }, 4000);
    });
    row.append(label, figure, status, buttons, bar);
    row.dataset.id = run.id;
    return row;
  }
  function renew(row, run) {
    row.dataset.status = run.status;
    row.dataset.share = run.share;
    row.style.setProperty("--frami-run", colour(run));
    row.querySelector("input").checked = !s.hidden.has(run.id);
    const value = figure(run);
    row.querySelector(".figure").textContent = value ? `${value[1]} ${value[0]}` : "";
    row.querySelector(".status").textContent = words(run);
    row.querySelector(".bar div").style.width = `${100 * run.share}%`;
    row.querySelector(".bar").hidden = run.status === "finished";
    row.querySelector(".stop").hidden = !["waiting", "starting", "running"].includes(run.status);
    row.querySelector(".resume").hidden = !["stopped", "failed"].includes(run.status);
    row.querySelector(".delete").hidden = ["starting", "running", "stopping"].includes(run.status);
    row.querySelector(".save").hidden = !run.usable || BUSY.includes(run.status);
  }
  // The figure that a run goes by: accuracy where recordings are at hand, else agreement with the teacher.
  function figure(run) {
    const name = SHARES.find(n => last(run, n) !== null);
    return name ? [name === "accuracy" ? "accuracy" : "agreement", percent(last(run, name))] : null;
  }
  const last = (run, name) => result(run)[name] ?? run.latest[name] ?? null;

  // ---- asking and acting
  async function ask() {
    clearTimeout(poll);
    if (asking) { poll = setTimeout(ask, 100); return; }
    if (!s.teacher || document.hidden || !root.offsetParent) { poll = setTimeout(ask, 500); return; }
    asking = true;
    const mine = s.teacher;
    try {
      const reply = await server.runs({ teacher: mine, seen: Object.fromEntries([...s.kept].map(([id, kept]) => [id, kept.stamp])) });
      if (reply && !reply.error && mine === s.teacher) take(reply);
      else if (reply?.error) { trouble = reply.error; tell(); }
    } catch { trouble = "The studio does not answer; start it again, the runs are kept."; tell(); }
    asking = false;
    poll = setTimeout(ask, mine !== s.teacher ? 0 : s.value.runs.some(run => BUSY.includes(run.status)) ? 800 : 4000);
  }
  function take(value) {
    if (trouble.startsWith("The studio")) trouble = "";
    value.runs.forEach((run, i) => {
      if (run.curves) s.kept.set(run.id, { stamp: run.stamp, curves: run.curves, result: run.result });
      if (!s.known.has(run.id)) { s.known.add(run.id); if (i >= SHOWN) s.hidden.add(run.id); }
    });
    const here = new Set(value.runs.map(run => run.id));
    [...s.kept.keys()].forEach(id => { if (!here.has(id)) s.kept.delete(id); });
    s.value = value;
    draw();
  }
  async function act(what, id) {
    try {
      const reply = await server[what]({ id });
      trouble = reply?.error || "";
    } catch { trouble = "The studio does not answer."; }
    tell();
    ask();
  }
  async function download(id, select) {
    const kind = select.value;
    select.disabled = true;
    select.options[0].text = "Making it…";
    select.value = "";
    try {
      const reply = await server.file({ id, kind });
      trouble = reply?.error || "";
      if (reply?.data) {
        const link = document.createElement("a");
        link.href = URL.createObjectURL(new Blob([Uint8Array.from(atob(reply.data), c => c.charCodeAt(0))]));
        link.download = reply.name;
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
      }
    } catch { trouble = "The file could not be made."; }
    select.options[0].text = "Download…";
    select.disabled = false;
    tell();
  }
  const tell = () => { alarm.textContent = trouble; };

  // ---- everything from what is known
  function draw() {
    const runs = s.value.runs, have = new Map([...list.children].map(row => [row.dataset.id, row]));
    root.dataset.runs = runs.length;
    listing.hidden = !runs.length;
    runs.forEach((run, i) => {
      const row = have.get(run.id) || entry(run);
      have.delete(run.id);
      renew(row, run);
      if (list.children[i] !== row) list.insertBefore(row, list.children[i] || null);
    });
    have.forEach(row => row.remove());
    tell();
    const busy = runs.find(run => ["running", "starting"].includes(run.status));
    const brief = busy ? `${busy.title} learns, ${10 * Math.floor(10 * busy.share)} %` : runs.length ? `${runs.length} runs, none at work` : "";
    if (said.textContent !== brief) said.textContent = brief;
    choose();
    plot();
    figures();
    confused();
  }
  function choose() {
    const names = [...new Set(shown().flatMap(run => Object.keys(curves(run)).filter(n => curves(run)[n].length)))];
    names.sort((a, b) => Object.keys(WORDS).indexOf(a) - Object.keys(WORDS).indexOf(b));
    chart.hidden = !names.length;
    if (!names.includes(s.picked)) s.picked = null;
    s.metric = s.picked || names[0] || null;
    if (segments.dataset.names !== names.join()) {
      segments.dataset.names = names.join();
      segments.replaceChildren(...names.map(name => {
        const cell = el("label"), input = el("input");
        Object.assign(input, { type: "radio", name: "frami-metric", value: name });
        input.addEventListener("change", () => { s.picked = name; choose(); plot(); });
        cell.append(input, el("span", "", WORDS[name] || name));
        return cell;
      }));
    }
    segments.querySelectorAll("input").forEach(input => { input.checked = input.value === s.metric; });
    reading.textContent = s.metric ? `${WORDS[s.metric] || s.metric}: ${MEANS[s.metric] || "loss"}; over the seconds of making clips and learning` : "";
  }

  // ---- curves
  function plot() {
    const width = stage.clientWidth, height = canvas.clientHeight, ratio = devicePixelRatio || 1;
    if (chart.hidden || !width) return;
    canvas.width = width * ratio; canvas.height = height * ratio;
    const c = canvas.getContext("2d"), lines = shown().map(run => [run, curves(run)[s.metric] || []]).filter(([, points]) => points.length);
    const share = SHARES.includes(s.metric), [left, right, top, low] = [44, 12, 10, 26];
    const all = lines.flatMap(([, points]) => points), end = Math.max(10, ...all.map(p => p[0]));
    const most = share ? 1 : Math.max(1e-6, ...all.map(p => p[1])), least = share ? 0 : Math.min(0, ...all.map(p => p[1]));
    const x = t => left + t / end * (width - left - right), y = v => height - low - (v - least) / (most - least) * (height - low - top);
    const ink = css("--body-text-color-subdued"), rule = css("--frami-line");
    s.scale = { x, y, end, left, right, width, share, lines };
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    c.font = "12px 'IBM Plex Sans', system-ui, sans-serif";
    c.fillStyle = ink; c.strokeStyle = rule; c.lineWidth = 1;
    c.textAlign = "right"; c.textBaseline = "middle";
    for (let i = 0; i <= 4; i++) {
      const v = least + (most - least) * i / 4, at = Math.round(y(v)) + .5;
      c.globalAlpha = i ? .5 : 1;
      c.beginPath(); c.moveTo(left, at); c.lineTo(width - right, at); c.stroke();
      c.globalAlpha = 1;
      c.fillText(share ? `${25 * i} %` : most < 10 ? v.toFixed(2) : v.toFixed(0), left - 6, at);
    }
    c.textBaseline = "alphabetic";
    const step = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200].find(t => end / t <= Math.max(2, width / 110)) || 14400;
    for (let t = 0; t <= end + 1e-9; t += step) {
      c.textAlign = t ? x(t) > width - 30 ? "right" : "center" : "left";
      c.fillText(step < 60 ? `${t} s` : `${t / 60} min`, x(t), height - 8);
    }
    if (s.metric === "accuracy" && s.value.accuracy) {
      c.setLineDash([5, 4]); c.strokeStyle = ink;
      c.beginPath(); c.moveTo(left, y(s.value.accuracy)); c.lineTo(width - right, y(s.value.accuracy)); c.stroke();
      c.setLineDash([]); c.textAlign = "left";
      c.fillText(`the teacher: ${tenth(s.value.accuracy)}`, left + 6, y(s.value.accuracy) - 5);
    }
    c.lineWidth = 2; c.lineJoin = "round";
    for (const [run, points] of [...lines].reverse()) {
      c.strokeStyle = c.fillStyle = css(`--frami-r${run.colour}`);
      c.beginPath();
      points.forEach(([t, v], i) => i ? c.lineTo(x(t), y(v)) : c.moveTo(x(t), y(v)));
      c.stroke();
      const [t, v] = points[points.length - 1];
      c.beginPath(); c.arc(x(t), y(v), 3.5, 0, 7); c.fill();
    }
    if (s.at !== null && s.at <= end) {
      c.strokeStyle = ink; c.lineWidth = 1;
      c.beginPath(); c.moveTo(x(s.at), top); c.lineTo(x(s.at), height - low); c.stroke();
    }
    canvas.setAttribute("aria-label", `${WORDS[s.metric] || s.metric}: ${lines.map(([run, points]) => `${run.title} ${value(points[points.length - 1][1])}`).join("; ")}`);
  }
  const value = v => SHARES.includes(s.metric) ? tenth(v) : v.toPrecision(3);
  stage.addEventListener("pointermove", event => {
    if (!s.scale) return;
    const { left, right, width, end, x, lines } = s.scale, box = canvas.getBoundingClientRect(), at = event.clientX - box.left;
    s.at = Math.min(end, Math.max(0, (at - left) / (width - left - right) * end));
    tip.replaceChildren(el("span", "", `after ${time(s.at)}`));
    for (const [run, points] of lines) {
      const near = points.reduce((a, b) => Math.abs(b[0] - s.at) < Math.abs(a[0] - s.at) ? b : a), line = el("b"), mark = el("i");
      mark.style.background = colour(run);
      line.append(mark, `${value(near[1])}  ${run.title}`);
      tip.append(line);
    }
    tip.hidden = false;
    tip.style.left = `${Math.min(width - tip.offsetWidth - 4, Math.max(4, x(s.at) + 12))}px`;
    plot();
  });
  stage.addEventListener("pointerleave", () => { s.at = null; tip.hidden = true; plot(); });

  // ---- figures beside each other
  function figures() {
    const runs = shown(), real = runs.some(run => last(run, "accuracy") !== null);
    beside.hidden = !runs.some(run => Object.keys(result(run)).length || last(run, "agreement") !== null);
    if (beside.hidden) return;
    const names = [...new Set(runs.flatMap(run => Object.keys(run.settings)))];
    const differing = names.filter(name => new Set(runs.map(run => run.settings[name] ?? "–")).size > 1);
    const dash = "–", say = (v, words) => v === null || v === undefined ? dash : words(v);
    const columns = [
      ...(real ? [["Accuracy", "on held-out recordings", run => say(last(run, "accuracy"), tenth)]] : []),
      ["Agreement", "with the teacher, on unseen made clips", run => say(last(run, "agreement"), tenth)],
      ["Parameters", "", run => say(result(run).parameters, count)],
      ["MACs", "for a clip", run => say(result(run).macs, count)],
      ["Latency", "on the CPU, for a clip", run => say(result(run).latency_ms, v => `${v.toFixed(v < 10 ? 1 : 0)} ms`)],
      ["File", "safetensors", run => say(result(run).bytes, size)],
      ["Time", "spent", run => say(result(run).seconds, time)],
      ["Clips", "made", run => say(last(run, "clips"), number)],
    ];
    const head = el("tr"), body = el("tbody"), top = el("thead");
    const cell = (tag, text, small) => { const one = el(tag); one.append(el("span", "", text)); if (small) one.append(el("small", "", small)); return one; };
    head.append(cell("th", "Run"), ...differing.map(name => cell("th", name)), ...columns.map(([name, small]) => cell("th", name, small)));
    top.append(head);
    const about = { Accuracy: say(s.value.accuracy, tenth), Parameters: say(s.value.parameters, count), MACs: say(s.value.macs, count), File: say(s.value.bytes, size), Latency: say(s.value.latency_ms, v => `${v.toFixed(1)} ms`) };
    const teacher = el("tr", "reference");
    teacher.append(cell("th", "The teacher", s.value.title), ...differing.map(() => cell("td", "")), ...columns.map(([name]) => cell("td", about[name] ?? "")));
    body.append(teacher);
    for (const run of runs) {
      const row = el("tr"), name = cell("th", run.title, run.status === "finished" ? "" : run.status), mark = el("i");
      mark.style.background = colour(run);
      name.firstChild.prepend(mark);
      row.dataset.id = run.id;
      row.append(name, ...differing.map(one => cell("td", run.settings[one] ?? dash)), ...columns.map(([, , get]) => cell("td", get(run))));
      body.append(row);
    }
    table.replaceChildren(top, body);
    const alike = names.filter(name => !differing.includes(name) && props.named.includes(name));
    same.textContent = (real ? "" : "No recordings are at hand here, so no accuracy: agreement says how often a student answers like its teacher. ") +
      (runs.length > 1 && alike.length ? `The same in all: ${alike.map(name => `${name.toLowerCase()} ${runs[0].settings[name]}`).join(", ")}.` : "");
  }

  // ---- confusion matrices side by side
  function confused() {
    const runs = shown().filter(run => Array.isArray(result(run).confusion) && result(run).confusion.length);
    confusions.hidden = !runs.length;
    const stamp = JSON.stringify(runs.map(run => [run.id, run.stamp]));
    if (!runs.length || matrices.dataset.stamp === stamp) return;
    matrices.dataset.stamp = stamp;
    const names = s.value.classes, of = new Set(runs.map(run => result(run).confusion_of));
    matrices.replaceChildren(...runs.map(run => {
      const figure = el("figure"), caption = el("figcaption"), mark = el("i"), grid = el("div", "grid"), rows = result(run).confusion;
      mark.style.background = colour(run);
      caption.append(mark, el("span", "", run.title));
      figure.style.setProperty("--frami-run", colour(run));
      grid.style.setProperty("--classes", rows.length);
      rows.forEach((row, i) => {
        const total = row.reduce((a, b) => a + b, 0);
        grid.append(el("span", "name", names[i] ?? i));
        row.forEach((n, j) => {
          const one = el("span", i === j ? "cell right" : "cell", n && rows.length <= 12 ? String(n) : "");
          one.style.setProperty("--share", total ? `${Math.round(100 * n / total)}%` : "0%");
          if (total && n / total > .5) one.classList.add("strong");
          one.title = `${names[i] ?? i} heard as ${names[j] ?? j}: ${n} of ${total}`;
          grid.append(one);
        });
      });
      figure.append(caption, grid);
      return figure;
    }));
    const what = { real: "what held-out recordings are", made: "what the teacher hears in made clips" };
    key.textContent = `Rows: ${[...of].map(o => what[o] || "what clips are").join(", or ")}. Columns, in the same order: what the student hears.`;
  }

  function change() {
    const value = props.value || {};
    if (value.teacher !== s.teacher) {
      s.teacher = value.teacher;
      s.value = { runs: [], classes: [] };
      s.kept.clear();
      s.picked = null;
      draw();
    }
    if (value.begun) { trouble = ""; matrices.dataset.stamp = ""; }
    clearTimeout(poll);
    ask();
  }
  watch("value", change);
  new ResizeObserver(plot).observe(stage);
  new MutationObserver(plot).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  root.curve = (id, name) => s.kept.get(id)?.curves[name] || [];
  change();
};
