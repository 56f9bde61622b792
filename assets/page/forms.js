/* What was chosen in the forms of the tabs, kept for a reload as long as the browser's tab is open. The server looks at
   each value before it is shown again: one that is no longer offered is dropped. */
const FORMS = "frami-forms", SETTLING = 1500;    // milliseconds until all tabs have another teacher's choices
const keptForms = (() => {
  try { return JSON.parse(sessionStorage.getItem(FORMS)) || {}; } catch { return {}; }
})();
let formsAre = null;             // the forms as they are now, once they are as they were

/* Notes the values of these components. */
frami.keepForm = (names, values) => {
  if (!formsAre) return;
  names.forEach((name, i) => { formsAre.values[name] = values[i]; });
  try { sessionStorage.setItem(FORMS, JSON.stringify(formsAre)); } catch { /* a browser that stores nothing */ }
};
frami.forms = (element, props, _server, _watch, trigger) => {
  frami.restoreForms = teacher => {
    const begin = () => { formsAre ||= { teacher, values: { ...keptForms.teacher === teacher && keptForms.values } }; };
    if (keptForms.teacher !== teacher || !keptForms.values) { begin(); return; }
    setTimeout(() => { trigger("select", { values: keptForms.values }); begin(); }, teacher === props.home ? 0 : SETTLING);
  };
  document.addEventListener("change", event => {
    if (formsAre && event.target.matches("#teacher input:checked")) formsAre.teacher = event.target.value;
  });
};
