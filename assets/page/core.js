/* What all scripts of the page use: elements, a row of choices, bars, numbers in words.
   Values come from Python as JSON; text goes into the page by textContent only. */
export const el = (tag, cls, text) => {
  const made = document.createElement(tag);
  if (cls) made.className = cls;
  if (text !== undefined) made.textContent = text;
  return made;
};
export function button(cls, text, act, label) {
  const made = el("button", cls, text);
  made.type = "button";
  if (label) made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}
/* One of several, as radio buttons in a row; options: [[key, words], …]. */
export function choices(row, name, options, chosen, choose) {
  row.replaceChildren(...options.map(([key, words]) => {
    const cell = el("label"), input = el("input");
    Object.assign(input, { type: "radio", name: `frami-${name}`, value: key, checked: key === chosen });
    input.addEventListener("change", () => choose(key));
    cell.append(input, el("span", "", words));
    return cell;
  }));
}
/* Probabilities [[class, probability], …] as bars; the one of the target class stands out. */
export const bars = (top, target) => top.map(([label, probability]) => {
  const row = el("div", label === target ? "row target" : "row"), track = el("div", "track"), fill = el("div");
  fill.style.width = `${100 * probability}%`;
  track.append(fill);
  row.title = label;
  row.append(el("span", "label", label), track, el("span", "value", percent(probability)));
  return row;
});
/* A square in the colour of a run. */
export const swatch = colour => {
  const mark = el("i");
  mark.style.background = colour;
  return mark;
};
/* Context of an empty canvas in which one unit is one pixel of the page. */
export function context(canvas, width, height) {
  const ratio = devicePixelRatio || 1, c = canvas.getContext("2d"), [w, h] = [width, height].map(n => Math.round(n * ratio));
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, width, height);
  return c;
}
export const css = (element, name) => getComputedStyle(element).getPropertyValue(name).trim();
export const decoded = base64 => Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
export const onPhone = () => matchMedia("(max-width: 760px)").matches;
export const onTheme = act => new MutationObserver(act).observe(document.body, { attributes: true, attributeFilter: ["class"] });
export function download(url, name) {
  const link = el("a");
  Object.assign(link, { href: url, download: name });
  link.click();
}

/* Said where the studio sends nothing back. */
export const NO_ANSWER = "The studio does not answer. Look whether you are online, then try again.";

// ---- numbers in words
export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}%`;
export const duration = s => s < 90 ? `${Math.max(0, Math.ceil(s))} s` : s < 5400 ? `${Math.round(s / 60)} min` : `${(s / 3600).toFixed(1)} h`;
export const amount = n => n >= 1e6 ? `${(n / 1e6).toFixed(n < 1e7 ? 2 : 0)} M` : n >= 1e3 ? `${(n / 1e3).toFixed(n < 1e4 ? 1 : 0)} k` : String(n);
export const fileSize = n => n >= 1e9 ? `${(n / 1e9).toFixed(1)} GB` : n >= 1e6 ? `${(n / 1e6).toFixed(n < 1e8 ? 2 : 0)} MB` : `${Math.round(n / 1e3)} kB`;
export const counted = n => n.toLocaleString("en");
export const plural = (n, one, several = `${one}s`) => `${counted(n)} ${n === 1 ? one : several}`;
