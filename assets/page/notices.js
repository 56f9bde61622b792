/* Notices that Gradio makes itself, in plain words with what to do; those that the studio makes are left as they are.
   The first row that fits a notice says it, with what its brackets hold in place of $1. */
const RELOAD = "If that does not help, reload the page.";
const BUSY = "The studio has too much to do just now. Wait a minute, then try again.";
const UNREACHED = `The studio could not be reached. Look whether you are online, then try again. ${RELOAD}`;
const TOO_LARGE = "This file is too large. Choose a shorter sound: a few seconds are enough.";
const NOTICES = [
  [/^Error$/, "Not done"],
  [/^Connection Lost$/, "Not connected"],
  [/connection to the server was lost/i, "The studio does not answer. This page tries again by itself, and is reloaded when it does."],
  [/exceeds? the maximum allowed size of ([\d.]+ ?\w+)/, "This file is too large: $1 are the most. Choose a shorter sound: a few seconds are enough."],
  [/^HTTP 413\b.*(File size exceeded|Request Entity Too Large)/is, TOO_LARGE],
  [/^HTTP 4\d\d: (?:\{"detail":")?([a-z][^"]+)/s, "$1"],   // the studio's own words
  [/^HTTP 413\b/, TOO_LARGE],
  [/HTTP 429\b|too many requests|currently busy|queue is full|long queue of requests/i, BUSY],
  [/^HTTP 40[134]\b/, "This page is too old for the studio. Reload it."],
  [/^HTTP 5\d\d\b|Could not (connect to component server|get|resolve|parse)/, `The studio could not do this now. Wait a minute, then try again. ${RELOAD}`],
  [/^HTTP \d/, "The studio could not take this. Reload the page, then try again."],
  [/connection errored out|failed to fetch|networkerror|load failed|no reply from the server/i, UNREACHED],
  [/not valid JSON|unexpected (token|end)|JSON\.parse/i, `The studio's answer could not be read. Wait a minute, then try again. ${RELOAD}`],
  [/^Lost connection due to leaving page/, "The connection ended while the page was out of sight; it is made again."],
  [/^On mobile, the connection can break/, "Keep this page in sight: a phone ends the connection of a page that is not."],
  [/^Waiting for file\(s\) to finish uploading/, "Your sound is still on its way. Try again when it is there."],
  [/^Invalid file types?: /, "This file is no sound. What phones, browsers and editors record is read, and the sound of videos."],
  [/^An (unknown )?error occurred/, `Something went wrong here. Try again. ${RELOAD}`],
];

/* What a notice says instead. */
export function plainly(text) {
  const said = text.trim();
  for (const [pattern, words] of NOTICES) {
    const found = pattern.exec(said);
    if (found) {
      const plain = words.replace("$1", () => (found[1] ?? "").replace(/^(\d+)\.0 /, "$1 ").replace(/Mb$/, "MB")).trim();
      return plain.charAt(0).toUpperCase() + plain.slice(1);
    }
  }
  return text;
}
frami.plainly = plainly;

/* A notice, or the mark that covers a component which it is about. */
const BOX = ".toast-body, .wrap > span.error";

function reword(box) {
  const texts = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const { data } = texts.currentNode, plain = box.matches(".toast-body") || data.trim() !== "Error" ? plainly(data) : "Not done: close this to try again";
    if (plain !== data) texts.currentNode.data = plain;
  }
}
new MutationObserver(changes => {
  for (const { target, addedNodes } of changes) {
    const box = (target instanceof Element ? target : target.parentElement)?.closest(BOX);
    if (box) reword(box);
    else for (const added of addedNodes) if (added instanceof Element) [added, ...added.querySelectorAll(BOX)].filter(one => one.matches(BOX)).forEach(reword);
  }
}).observe(document, { childList: true, subtree: true, characterData: true });
