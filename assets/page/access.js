/* The page by keyboard and for screen readers, where Gradio's own parts fall short. */

/* The bar of tabs as the WAI-ARIA pattern has it: one tab stop; arrows, Home and End choose. */
const tabsOf = list => [...list.querySelectorAll('[role="tab"]:not([aria-disabled="true"])')].filter(tab => tab.offsetParent);
function setTabStops() {
  for (const list of document.querySelectorAll('[role="tablist"]')) {
    const chosen = list.querySelector('[role="tab"][aria-selected="true"]');
    const seen = chosen && `${chosen.id} ${list.scrollWidth}`; // Gradio fills the bar anew when the window changes
    if (chosen && seen !== list.dataset.seen) {
      list.dataset.seen = seen;
      list.scrollLeft = chosen.offsetLeft - list.offsetLeft - (list.clientWidth - chosen.offsetWidth) / 2; // on a phone the bar slides
    }
    for (const tab of list.querySelectorAll('[role="tab"]')) {
      const index = tab.getAttribute("aria-selected") === "true" ? 0 : -1;
      if (tab.tabIndex !== index) tab.tabIndex = index;
    }
    if (!list.hasAttribute("aria-label")) list.setAttribute("aria-label", "Parts of the studio");
  }
  for (const panel of document.querySelectorAll('[role="tabpanel"]:not([aria-labelledby])')) {
    if (panel.id && document.getElementById(`${panel.id}-button`)) panel.setAttribute("aria-labelledby", `${panel.id}-button`);
  }
}
document.addEventListener("keydown", event => {
  const tab = event.target instanceof Element && event.target.closest('[role="tab"]'), list = tab && tab.closest('[role="tablist"]');
  if (!list || event.altKey || event.ctrlKey || event.metaKey) return;
  const all = tabsOf(list), at = all.indexOf(tab);
  const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
  if (to === undefined || at < 0) return;
  event.preventDefault();
  const next = all[(to + all.length) % all.length];
  next.click();
  next.focus();
});

/* What Gradio draws without a role or a name; asked for after each change of the page, at most once a frame. */
function mend() {
  setTabStops();
  const main = document.querySelector("main, .gradio-container .main, .gradio-container > .wrap");
  if (main && main.tagName !== "MAIN" && !document.querySelector('main, [role="main"]')) main.setAttribute("role", "main");
  for (const box of document.querySelectorAll(".toast-wrap:not([aria-live])")) box.setAttribute("aria-live", "polite");
}
let mending = 0;
new MutationObserver(() => { mending ||= requestAnimationFrame(() => { mending = 0; mend(); }); })
  .observe(document, { childList: true, subtree: true, attributeFilter: ["aria-selected"] });
