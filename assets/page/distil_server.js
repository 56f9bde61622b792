/* The runs of the Distil tab, asked for as long as one of its views is in sight; all views draw the same ones. */
import { NO_ANSWER } from "./core.js";
import { DistilRuns, isBusy } from "./distil_runs.js";

const UNANSWERED = "The studio does not answer. The runs are saved, and this page asks again by itself.";
const runViews = [];    // { root, server, draw, alarm }
let runsPoll = 0, runsAsked = false;

export const runs = new DistilRuns();
/* draw() when there is news; alarm: the element that says what went wrong. */
export function followRuns(view) { runViews.push(view); }
const viewsInSight = () => runViews.filter(view => view.root.isConnected && view.root.offsetParent);
const drawRuns = () => runViews.forEach(view => { if (view.root.isConnected) view.draw(); });
const alarmAll = text => runViews.forEach(one => { one.alarm.textContent = text; });

/* first: what is known of it before the server was asked. */
export function chooseTeacher(teacher, first) {
  const fresh = teacher !== runs.teacher;
  if (fresh) runs.reset(teacher);
  if (first && !runs.runs.length) runs.take(first);
  if (fresh || first) drawRuns();
  askRuns();
}
export async function askRuns() {
  clearTimeout(runsPoll);
  if (runsAsked) { runsPoll = setTimeout(askRuns, 100); return; }
  const [view] = viewsInSight();
  if (!runs.teacher || document.hidden || !view) { runsPoll = setTimeout(askRuns, 500); return; }
  runsAsked = true;
  const mine = runs.teacher;
  try {
    const reply = await view.server.runs({ teacher: mine, seen: runs.stamps, known: runs.value.classes.length > 0 });
    if (reply?.error) alarmAll(reply.error);
    else if (reply && mine === runs.teacher) {
      if (view.alarm.textContent === UNANSWERED) alarmAll("");
      runs.take(reply);
      drawRuns();
    }
  } catch { alarmAll(UNANSWERED); }
  runsAsked = false;
  runsPoll = setTimeout(askRuns, mine !== runs.teacher ? 0 : runs.own.some(isBusy) ? 800 : 4000);
}
/* Ask the server to do something to a run. */
export async function actOn(server, what, id, alarm) {
  try { alarm.textContent = (await server[what]({ id }))?.error || ""; } catch { alarm.textContent = NO_ANSWER; }
  askRuns();
}
