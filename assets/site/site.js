/* The exported page: a network, a microphone, files. */
import { fetchedBytes, openNetwork } from "../page/browser_network.js";
import { browserPanel } from "../page/browser_panel.js";
import { el } from "../page/core.js";

const about = JSON.parse(document.querySelector("#about").textContent), root = document.querySelector(".frami-browser");
const at = name => new URL(name, document.baseURI).href;

/* All is here: from now on the browser itself refuses every request of this page. */
function seal() {
  const policy = el("meta");
  Object.assign(policy, { httpEquiv: "Content-Security-Policy", content: "connect-src 'none'" });
  document.head.append(policy);
}
async function ready(told) {
  const runtime = { script: at(about.runtime.script), module: at(about.runtime.module) };
  return { about, network: await openNetwork({ runtime, model: () => fetchedBytes(at("model.onnx")), about, told, sealed: seal }) };
}
function files(run) {
  const label = el("label", "file"), input = el("input");
  Object.assign(input, { type: "file", accept: "audio/*,video/*" });
  label.append(el("span", "", "Choose a file"), input);
  const use = file => { if (file) run(file.name, () => file.arrayBuffer()); };
  input.addEventListener("change", () => { use(input.files[0]); input.value = ""; });
  root.addEventListener("dragover", event => { event.preventDefault(); root.classList.add("over"); });
  root.addEventListener("dragleave", () => root.classList.remove("over"));
  root.addEventListener("drop", event => { event.preventDefault(); root.classList.remove("over"); use(event.dataTransfer.files[0]); });
  return [label];
}
root.replaceChildren();    // what is there says that it needs scripts
frami.panel = browserPanel(root, { ready, more: files });
