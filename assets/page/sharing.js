/* Buttons that copy a link which shows a run to others, and take it back. */
import { button, el } from "./core.js";
import { plainly } from "./notices.js";

/* A box with both for the run of this id; server has share({ id }) and unshare({ id }). */
export function sharing(server, id) {
  const box = el("span", "sharing"), field = el("input"), said = el("span", "said");
  const ask = async (what, then) => {
    try {
      const reply = await server[what]({ id });
      if (reply?.error) throw new Error(reply.error);
      await then(reply);
    } catch (error) { said.textContent = plainly(error.message || String(error)); }
  };
  const copy = button("copy-link", "Copy link", () => ask("share", async ({ run }) => {
    field.value = `${location.origin}${location.pathname}?run=${run}`;
    box.renew(true);
    said.textContent = await copied(field) ? "Copied: the link shows this run to whoever has it." : "Copy this link:";
    field.hidden = said.textContent.startsWith("Copied");
    if (!field.hidden) { field.focus(); field.select(); }
  }));
  const back = button("unshare", "Stop sharing", () => ask("unshare", () => {
    box.renew(false);
    field.hidden = true;
    said.textContent = "The link shows nothing any more.";
  }));
  Object.assign(field, { type: "text", readOnly: true, hidden: true });
  field.setAttribute("aria-label", "Link to this run");
  said.setAttribute("role", "status");
  box.append(copy, back, said, field);
  box.renew = link => { back.hidden = !link; };
  box.renew(false);
  return box;
}
export async function copied(field) {
  try {
    await navigator.clipboard.writeText(field.value);
    return true;
  } catch { return false; }
}
