/* The gallery: groups of tiles, a group a class; of a large one the pictures are fetched as they come into sight. */
import { classFilter, inOrder, MANY } from "./classes.js";
import { button, el, NO_ANSWER } from "./core.js";
import { deselect, selection } from "./selection.js";
import { playSequence, stopSound } from "./sound.js";
import { fill, renew, setTabStop } from "./tiles.js";

const A_REQUEST = 48;    // pictures that are asked for at a time
const AGAIN = 5000;      // milliseconds after which pictures that could not be had are asked for again

/* A function that gives a clip whole, with its picture, at once or as a promise. */
export function pictureLoader(server) {
  const asked = new Map();
  let waiting = [], timer = 0;
  async function ask() {
    const some = waiting.slice(0, A_REQUEST);
    waiting = waiting.slice(A_REQUEST);
    timer = waiting.length ? setTimeout(ask, 0) : 0;
    try {
      const reply = await server.pictures(some.map(one => one.id));
      if (!reply || reply.error) throw new Error(reply ? reply.error : NO_ANSWER);
      some.forEach((one, i) => one.done(reply[i]));
    } catch (error) {
      some.forEach(one => { asked.delete(one.id); one.failed(error); });
    }
  }
  return clip => {
    if (clip.mel) return clip;
    if (!asked.has(clip.id)) {
      asked.set(clip.id, new Promise((done, failed) => { waiting.push({ id: clip.id, done, failed }); }));
      timer ||= setTimeout(ask, 30);
    }
    return asked.get(clip.id);
  };
}

frami.wall = (element, props, server, watch) => {
  const root = element.querySelector(".frami-wall"), filter = classFilter("Find a class", apply);
  let parts = [], seen = null;    // parts: { box, label } of a class, { box, labels } of a category's heading

  function apply() {
    const { groups = [] } = props.value || {}, passing = new Set(groups.map(group => group.label).filter(filter.passes));
    for (const { box, label, labels } of parts) box.hidden = labels ? !labels.some(one => passing.has(one)) : !passing.has(label);
    filter.say(passing.size);
    root.dataset.shown = passing.size;
    setTabStop(root);
  }
  function section(group, axis, longest) {
    const box = el("section", "frami-group"), tiles = el("div", "frami-tiles");
    fill(tiles, group.clips, axis, server, "done", longest);
    const head = el("h3");
    head.append(el("span", "", group.title));
    if (group.clips.length > 1) head.append(playAll(group, tiles));
    box.append(head, tiles);
    return box;
  }
  /* Plays the clips of a class one after the other. */
  function playAll(group, tiles) {
    const all = button("all", "▶ Play all", async () => {
      if (all.classList.contains("on")) { stopSound(); return; }
      all.classList.add("on");
      all.textContent = "■ Stop";
      try {
        const whole = await Promise.all([...tiles.children].map(made => made.whole(made.clip)));
        await playSequence(whole, server);
      } catch { /* pictures come later: the next click tries again */ }
      all.classList.remove("on");
      all.textContent = "▶ Play all";
    });
    all.setAttribute("aria-label", `Play all: ${group.title}`);
    return all;
  }
  function watchSight(whole) {
    seen?.disconnect();
    const mine = seen = new IntersectionObserver(entries => entries.filter(entry => entry.isIntersecting).forEach(({ target }) => {
      mine.unobserve(target);
      target.querySelectorAll(".frami-tile").forEach(async made => {
        try { renew(made, await whole(made.clip)); } catch { setTimeout(() => { if (mine === seen) mine.observe(target); }, AGAIN); }
      });
    }), { rootMargin: "400px" });
    root.querySelectorAll(".frami-group").forEach(box => {
      box.querySelectorAll(".frami-tile").forEach(made => { made.whole = whole; });
      if (!box.querySelector(".frami-tile")?.clip.mel) seen.observe(box);
    });
  }
  function draw() {
    const { groups = [], categories = [], axis, message, teacher = "" } = props.value || {}, clips = groups.flatMap(group => group.clips);
    const longest = Math.max(0, ...clips.map(clip => clip.frames)), many = groups.length > MANY;
    const titles = [];
    groups.forEach(group => { titles[group.label] = group.title; });
    filter.offer(Array.from(titles, title => title ?? ""), categories);
    parts = [];
    for (const [title, labels] of inOrder(titles.length, many ? categories : [])) {
      const own = labels.map(label => groups.find(group => group.label === label)).filter(Boolean);
      if (title && own.length) parts.push({ box: el("h2", "", title), labels });
      parts.push(...own.map(group => ({ box: section(group, axis, longest), label: group.label })));
    }
    root.replaceChildren(...message ? [el("p", "frami-empty", message)] : many ? [filter.box] : [], ...parts.map(part => part.box));
    watchSight(pictureLoader(server));
    if (selection.clip?.id.startsWith("gallery/") && !clips.some(clip => clip.id === selection.clip.id)) deselect();
    root.classList.toggle("single", groups.length > 0 && groups.every(group => group.clips.length === 1));
    Object.assign(root.dataset, { clips: clips.length, teacher });
    apply();
  }
  watch("value", draw);
  draw();
};
