/* The Teachers & data tab: cards of the networks that are here, and the data sets with what it takes to fetch one. */
import { amount, button, counted, el, fileSize, onPhone, plural } from "./core.js";
import { prepare } from "./teachers_work.js";

const factPair = (name, value) => {
  const box = el("div");
  box.append(el("dt", "", name), el("dd", "", value));
  return box;
};
/* Accuracy with the part that it was measured on. */
const accuracyOf = one => one.accuracy === null
  ? (one.agreement === null ? "not measured" : `agrees with its teacher on ${one.agreement} of made clips`)
  : one.accuracy;
const accuracyPart = one => one.accuracy === null ? "" : [
  one.on && `on ${one.on}, held out`, one.clips && `of ${counted(one.clips)} clips`,
  one.interval && `95% interval ${one.interval.join(" to ")}`].filter(Boolean).join(", ");

function disclosure(words, ...content) {
  const box = el("details"), head = el("summary", "", words);
  box.append(head, ...content);
  return box;
}
/* A card: on a phone its head alone, with a word on what it is, and the rest when that is tapped. */
function foldedCard(box, head, rest, word) {
  if (!onPhone()) { box.append(head, ...rest); return box; }
  const fold = disclosure("", ...rest);
  fold.className = "fold";
  if (word) head.lastChild.textContent = word;
  fold.firstChild.append(head);
  box.append(fold);
  return box;
}
/* On a phone, where the forms are far below: buttons that go there. */
function waysToAdd(may) {
  const row = el("div", "ways"), ways = [[may.train, "Train a teacher", "#train-form"], [may.import, "Import a teacher", "#import-form"], [may.download, "Download data", "#data-sets"]];
  row.append(...ways.filter(([on]) => on && onPhone()).map(([, words, where]) => button("act", words, () =>
    document.querySelector(where)?.scrollIntoView({ block: "start", behavior: "smooth" }))));
  return row;
}
function networkRow(one) {
  const row = el("li"), facts = [`${amount(one.parameters)} parameters`, accuracyOf(one)];
  row.append(el("b", "", one.name), el("span", "", facts.join(" · ")), el("small", "", accuracyPart(one)));
  return row;
}
function networkList(title, some) {
  const list = el("ul");
  list.append(...some.map(networkRow));
  return disclosure(title, list);
}
function teacherCard(one, may) {
  const box = el("article", "card"), head = el("header"), facts = el("dl"), more = el("dl");
  box.dataset.teacher = one.name;
  head.append(el("h4", "", one.chip), el("span", "mark", one.bundled ? "bundled" : "your own"));
  facts.append(factPair("accuracy", accuracyOf(one)), factPair("classes", `${one.count}${one.several ? ", several at once" : ""}`),
    factPair("parameters", amount(one.parameters)), factPair("data licence", one.data_licence));
  more.append(factPair("name", one.chip.includes(one.title) ? one.name : `${one.title} (${one.name})`), factPair("network", one.architecture), factPair("front-end", one.front_end),
    factPair("usual clip", `${one.seconds} s`), factPair("licence of the weights", one.licence), factPair("learnt from", one.dataset || "not stated"));
  const rest = [facts], left = one.count - one.classes.length, names = el("p", "names", one.classes.join(", ") + (left > 0 ? ` and ${left} more` : ""));
  if (accuracyPart(one)) rest.push(el("p", "on", accuracyPart(one)));
  const details = disclosure("Classes, network, front-end", names, more);
  if (one.command) details.append(el("p", "on", "Measured by"), el("code", "", one.command));
  rest.push(details);
  if (one.students.length) rest.push(networkList(plural(one.students.length, "bundled student"), one.students));
  if (one.judge) rest.push(networkList("Its judge: another network that listens to its clips", [one.judge]));
  if (!one.gallery) {
    rest.push(el("p", "on", may.gallery ? "It has no gallery for the Listen tab yet." : "It has no gallery for the Listen tab."));
    if (may.gallery) rest.push(button("act", "Make a gallery", () => prepare("gallery", { name: one.name }), `Make a gallery of ${one.title}`));
  }
  return foldedCard(box, head, rest, one.accuracy && `${one.bundled ? "" : "your own · "}${one.accuracy} accuracy`);
}
function dataSetCard(one, may) {
  const rest = [], row = el("li", "dataset"), head = el("div", "head"), facts = el("p", "facts");
  row.dataset.name = one.name;
  const state = one.problem ? "cannot be read" : one.here ? (one.here < one.clips ? `${counted(one.here)} of ${counted(one.clips)} clips here` : `${counted(one.here)} clips here`) : "not here";
  head.append(el("b", "", one.title), el("span", `state${one.here ? " here" : ""}`, state));
  facts.textContent = [one.classes && plural(one.classes, "class", "classes"), !one.here && one.clips && `${counted(one.clips)} clips`,
    `licence: ${one.licence}`, one.note].filter(Boolean).join(" · ");
  rest.push(facts);
  if (one.folder) rest.push(el("p", "place", one.folder));
  if (one.problem) rest.push(el("p", "alarm", one.problem));
  if (one.sources.length) {
    const list = el("ul");
    list.append(...one.sources.map(({ url, bytes, checksum }) => {
      const line = el("li");
      line.append(el("code", "", url), el("small", "", `${fileSize(bytes)}, ${checksum ? `${checksum} checksum` : "no checksum is published: each clip's header is read"}`));
      return line;
    }));
    rest.push(disclosure(one.here ? "Where it is from" : `What a download fetches: ${fileSize(one.bytes)}`, list));
  }
  if (one.homepage) {
    const link = el("a", "", "about this data set");
    Object.assign(link, { href: one.homepage, target: "_blank", rel: "noreferrer" });
    rest.push(link);
  }
  if (!one.here && one.bytes && may.download)
    rest.push(button("act", `Download ${fileSize(one.bytes)}`, () => prepare("download", { name: one.name }), `Download ${one.title}, ${fileSize(one.bytes)}, licence ${one.licence}`));
  return foldedCard(row, head, rest);
}

frami.teachers = (element, props, server, watch) => {
  const root = element.querySelector(".frami-teachers");
  function draw() {
    const { teachers = [], data = [], folder, may = {} } = props.value || {};
    root.dataset.ready = String(teachers.length > 0);
    if (!teachers.length) { root.replaceChildren(el("p", "frami-empty", "Looking at what is here…")); return; }
    const open = new Set([...root.querySelectorAll("details[open]")].map(box => `${box.closest("[data-teacher], [data-name]")?.dataset.teacher}${box.closest("[data-name]")?.dataset.name}${box.firstChild.textContent}`));
    const cards = el("div", "cards"), sets = el("ul", "datasets"), title = el("h3", "", "Data sets");
    title.id = "data-sets";
    cards.append(...teachers.map(one => teacherCard(one, may)));
    sets.append(...data.map(one => dataSetCard(one, may)));
    root.replaceChildren(waysToAdd(may), el("h3", "", `Teachers: ${teachers.length}`), cards, title,
      ...folder ? [el("p", "place", `Recordings are read from, and downloaded to, ${folder}`)] : [], sets);
    root.querySelectorAll("details").forEach(box => {
      box.open = open.has(`${box.closest("[data-teacher], [data-name]")?.dataset.teacher}${box.closest("[data-name]")?.dataset.name}${box.firstChild.textContent}`);
    });
  }
  watch("value", draw);
  draw();
};
