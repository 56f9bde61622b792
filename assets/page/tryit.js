/* The Try it tab: bundled sounds to click, and the answers of teacher and students side by side. Values come from Python
   as JSON; text goes in by textContent only. */
frami.samples = (element, props, server, watch, trigger) => {
  "use strict";
  const { el } = frami, root = element.querySelector(".frami-samples");
  const draw = () => {
    root.replaceChildren();
    for (const group of (props.value || {}).groups || []) {
      const box = el("section"), row = el("div", "row");
      for (const sound of group.sounds) {
        const button = el("button", "", sound.label);
        button.type = "button";
        button.dataset.id = sound.id;
        button.setAttribute("aria-pressed", "false");
        button.addEventListener("click", () => {
          root.querySelectorAll("button").forEach(b => b.setAttribute("aria-pressed", String(b === button)));
          frami.play({ id: sound.id, mel: "" }, server);
          trigger("select", { id: sound.id });
        });
        row.append(button);
      }
      box.append(el("h3", "", group.title), row);
      root.append(box);
    }
  };
  watch("value", draw);
  draw();
};

frami.tryIt = (element, props, watch) => {
  "use strict";
  const { el, percent } = frami, root = element.querySelector(".frami-try");
  const count = n => n >= 1e6 ? `${(n / 1e6).toFixed(2)} M` : `${Math.round(n / 1e3)} k`;
  root.setAttribute("aria-live", "polite");

  function network(one, teacher, label) {
    const card = el("section", "network"), head = el("h3"), mark = el("i"), verdict = el("p", "verdict"), bars = el("div", "bars");
    const [best, share] = one.top[0];
    mark.style.background = one.colour === null ? "var(--body-text-color)" : `var(--frami-r${one.colour})`;
    head.append(mark, el("span", "", one.title));
    verdict.append(el("b", "", best), el("span", "", percent(share)));
    card.dataset.predicted = best;
    for (const [name, p] of one.top) {
      const row = el("div", "row"), track = el("div", "track"), fill = el("div");
      fill.style.width = `${100 * p}%`;
      track.append(fill);
      row.append(el("span", "label", name), track, el("span", "value", percent(p)));
      if (name === label) row.classList.add("target");
      bars.append(row);
    }
    const facts = el("p", "facts", `${one.milliseconds.toFixed(one.milliseconds < 10 ? 1 : 0)} ms · ${count(one.parameters)} parameters`);
    const same = one === teacher ? one.small : best === teacher.top[0][0] ? "answers like the teacher" : "answers differently";
    card.append(head, verdict, bars, facts, el("p", "facts", same));
    return card;
  }
  function draw() {
    const value = props.value || {};
    root.dataset.state = value.state || "idle";
    root.replaceChildren();
    if (!value.label) document.querySelectorAll('.frami-samples [aria-pressed="true"]').forEach(b => b.setAttribute("aria-pressed", "false"));
    // on a phone the answers lie below what was clicked
    if (value.state !== "idle" && matchMedia("(max-width: 760px)").matches) requestAnimationFrame(() => root.scrollIntoView({ block: "start", behavior: "smooth" }));
    if (value.state === "refused") { root.append(el("p", "refused", value.message)); return; }
    if (value.state !== "answered") {
      root.append(el("p", "frami-empty", "Click a sound, or record your own: here you see who hears what in it."));
      return;
    }
    const [teacher] = value.networks, head = el("p", "what"), picture = el("div", "seen");
    if (value.label) head.append(el("b", "", value.label), `, ${value.what}`);
    else head.append(el("b", "", value.what.charAt(0).toUpperCase() + value.what.slice(1)));
    root.append(head);
    if (value.notes.length) root.append(el("p", "notes", `${value.notes.join("; ")}.`));
    const cards = el("div", "networks");
    cards.append(...value.networks.map(one => network(one, teacher, value.label)));
    root.append(cards);
    if (value.networks.length === 1) root.append(el("p", "notes", "no student is ticked: distil one in the Distil tab, and it answers here beside its teacher."));
    const plot = frami.spectrogram(value.clip, value.axis);
    picture.append(el("h3", "", value.networks.length > 1 ? "What all of them saw" : "What it saw"), plot);
    root.append(picture, el("p", "facts", "The milliseconds are those of the network alone on this machine, as busy as it is now: the median of a few passes."));
    frami.paint(plot.querySelector("canvas"), value.clip, value.axis);
  }
  watch("value", draw);
  draw();
};
