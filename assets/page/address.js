/* The page's address: which tab, teacher and clip it shows, and what tabs add. A reload, Back and a copied link find
   the same again. Of what an address says only known values count; all other parts of it are kept as they are. */
import { button, el } from "./core.js";
import { additions } from "./detail.js";
import { change, deselect, onSelection, selection } from "./selection.js";
import { copied } from "./sharing.js";

const LONGEST = 300;             // signs of a value
const PLACES = ["tab", "teacher"];
const places = new Map();        // what is shown of these, as the page last said
const parts = [];                // what tabs add: { set, ofTeacher }
let home = {};                   // of tab and teacher what the page opens with, which is not named
let arrived = false;             // until then the address says what the page will show, not what it shows
let wished = "";                 // the clip that the address names, until it is here

/* The teacher that the page shows, or will show as its address says. */
export const teacherHere = () => arrived ? places.get("teacher") : inAddress("teacher") || home.teacher;
/* Whether the page shows by now what its address says. */
export const hasArrived = () => arrived;
/* What the address says of a key, "" where it says nothing. */
export const inAddress = key => (new URLSearchParams(location.search).get(key) || "").slice(0, LONGEST);
/* Put these values there, "" takes one away; step: to go Back by. */
export function write(values, step) {
  const url = new URL(location.href), before = url.search;
  for (const [key, value] of Object.entries(values)) {
    if (value) url.searchParams.set(key, value);
    else url.searchParams.delete(key);
  }
  url.search = url.searchParams.toString().replaceAll("%2F", "/").replaceAll("%7E", "~");
  if (url.search === before) return;
  // What the page does by itself is no step to go Back by.
  history[step && navigator.userActivation?.hasBeenActive !== false ? "pushState" : "replaceState"](null, "", url);
}
/* Tells that the tab or the teacher is this now. */
function place(key, value) {
  if (places.get(key) === value) return;
  places.set(key, value);
  const left = key === "teacher" ? parts.flatMap(part => part.ofTeacher) : [];
  if (arrived) write({ ...Object.fromEntries(left.map(one => [one, ""])), [key]: value === home[key] ? "" : value }, true);
}

/* What a tab adds to the address. get(): { key: value as a text, "" for what the page begins with }; set(): show what
   inAddress(key) says, by Back and Forward; what it does not know it ignores. ofTeacher: the keys that another teacher leaves
   behind. Returns what the tab calls when values have changed; with true the change is a step to go Back by. */
export function addressed({ get, set, ofTeacher = [] }) {
  parts.push({ set, ofTeacher });
  return (step = false) => arrived && write(get(), step);
}
/* A link to what the page shows now; with values, to these instead. Whom a run was shared with is not told on. */
export function linkHere(values = {}) {
  const url = new URL(location.href);
  for (const key of ["run", "__theme"]) url.searchParams.delete(key);
  for (const [key, value] of Object.entries(values)) {
    if (value) url.searchParams.set(key, value);
    else url.searchParams.delete(key);
  }
  return url.href.replaceAll("%2F", "/").replaceAll("%7E", "~");
}
/* A button that copies link(), and says so. */
export function copyButton(cls, words, link) {
  const made = button(cls, words, async () => {
    const field = el("input");
    field.value = link();
    const done = await copied(field);
    made.textContent = done ? "Link copied" : words;
    if (!done) prompt("Copy this link:", field.value);
    setTimeout(() => { made.textContent = words; }, 2500);
  });
  made.setAttribute("aria-live", "polite");
  return made;
}
/* Whether others can hear a clip by its link: those of runs are their owner's. */
export const isPublic = id => /^(gallery|recording|explore\/[^/]+\/(?!run-)[^/]+)\//.test(id);

let goThere = () => {};          // asks the server for a tab
/* Open a tab by its name; one that has no room on the bar of a phone is opened by the server. */
export function openTab(name) {
  const tab = document.querySelector(`#tabs [role="tab"][data-tab-id="${CSS.escape(name)}"]`);
  if (tab) tab.click();
  else { goThere({ tab: name }); place("tab", name); }
}
const shownTab = () => document.querySelector('#tabs [role="tab"][aria-selected="true"][data-tab-id]')?.dataset.tabId;

frami.address = (element, props, server, _watch, trigger) => {
  home = props.home;
  goThere = wanted => trigger("select", wanted);
  for (const key of PLACES) if (!places.has(key)) places.set(key, home[key]);

  async function showClip(id) {
    wished = id;
    if (!id) { if (selection.clip && !selection.forming) deselect(); return; }
    if (selection.clip?.id === id) { wished = ""; return; }
    try {
      const found = await server.find({ id });
      if (wished !== id || !found?.clip) return;
      change({ clip: found.clip, axis: found.axis, server, forming: false, state: null });
    } catch { /* the page shows no clip */ } finally { if (wished === id) wished = ""; }
  }
  onSelection(() => {
    if (!arrived || (wished && selection.clip?.id !== wished && !selection.clip)) return;
    const { clip, forming } = selection;
    write({ clip: clip && !forming ? clip.id : "" }, false);
  });
  // What is clicked, by whichever hand: Gradio's own events come later, in any order.
  new MutationObserver(() => { if (shownTab()) place("tab", shownTab()); })
    .observe(document.body, { subtree: true, attributeFilter: ["aria-selected"] });
  document.addEventListener("change", event => {
    if (event.target.matches("#teacher input:checked")) place("teacher", event.target.value);
  });
  // The server has read the first address itself: teacher is what it chose.
  frami.arrive = teacher => {
    if (arrived) return;
    const clip = inAddress("clip");
    places.set("teacher", teacher || home.teacher);
    places.set("tab", shownTab() || home.tab);
    arrived = true;
    for (const key of PLACES) write({ [key]: places.get(key) === home[key] ? "" : places.get(key) }, false);
    if (clip && !selection.clip) showClip(clip);
    document.dispatchEvent(new Event("frami-arrived"));
  };
  addEventListener("popstate", () => {
    const wanted = Object.fromEntries(PLACES.map(key => [key, inAddress(key) || home[key]])), clip = inAddress("clip");
    const others = PLACES.filter(key => wanted[key] !== places.get(key));
    others.forEach(key => places.set(key, wanted[key]));
    if (others.includes("tab")) document.querySelector(`#tabs [role="tab"][data-tab-id="${CSS.escape(wanted.tab)}"]`)?.click();
    if (others.includes("teacher")) document.querySelector(`#teacher input[value="${CSS.escape(wanted.teacher)}"]`)?.click();
    // A tab in the menu of those that have no room is chosen by the server.
    if (others.includes("tab")) setTimeout(() => { if (places.get("tab") === wanted.tab && shownTab() !== wanted.tab) trigger("select", wanted); }, 400);
    parts.forEach(part => part.set());
    showClip(clip);
  });
  additions.push(root => {
    const id = selection.clip?.id, there = root.querySelector(".copy-clip");
    if (there?.dataset.id === id) return;
    there?.remove();
    if (!id || selection.forming || !isPublic(id)) return;
    const made = copyButton("copy-clip", "Copy link", () => linkHere({ clip: id }));
    made.dataset.id = id;
    root.querySelector(".meta")?.after(made);
  });
};

/* Links below the page: what explains it, and the page as it is shown. */
frami.links = (element, props) => {
  const root = element.querySelector(".frami-links");
  if (props.how) root.append(button("", "How it works", () => openTab("method")));
  for (const [words, url] of props.links || []) {
    const link = el("a", "", words);
    Object.assign(link, { href: url, target: "_blank", rel: "noreferrer" });
    root.append(link);
  }
  root.append(copyButton("", "Copy link to this view", () => linkHere()));
};
