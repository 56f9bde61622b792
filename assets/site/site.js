/* The exported page: a network, a microphone, files. */
import { fetchedBytes, openNetwork } from "../page/browser_network.js";
import { browserPanel } from "../page/browser_panel.js";
import { fileChoice } from "../page/browser_sound.js";
import { el } from "../page/core.js";

const about = JSON.parse(document.querySelector("#about").textContent), root = document.querySelector(".frami-browser");
const at = name => new URL(name, document.baseURI).href;

/* All is here: from now on the browser itself refuses every request of this page. */
function seal() {
  const policy = el("meta");
  Object.assign(policy, { httpEquiv: "Content-Security-Policy", content: "connect-src 'none'" });
  document.head.append(policy);
}
function ready(told) {
  const runtime = { script: at(about.runtime.script), module: at(about.runtime.module) };
  return openNetwork({ runtime, model: async () => ({ bytes: await fetchedBytes(at("model.onnx")), about }), told, sealed: seal });
}
root.replaceChildren();    // what is there says that it needs scripts
frami.panel = browserPanel(root, { ready, more: run => [fileChoice(root, run)] });
