/* Sounds and details of the clips on a map: fetched once, ahead of time where the pointer rests or the arrows lead. */
import { NO_ANSWER } from "./core.js";
import { withVocoder } from "./sound.js";

/* A Map that forgets its oldest entries. */
const bounded = (map, key, value) => {
  map.set(key, value);
  if (map.size > 80) map.delete(map.keys().next().value);
  return value;
};

/* s: what the map shows (see explore.js); its `details` are filled. */
export function clipLoader(s, server) {
  const pending = new Map(), sounds = new Map();
  const ask = more => ({ teacher: s.value.teacher, keys: s.value.keys, ...more });
  async function wav(id) {
    if (!sounds.has(id)) bounded(sounds, id, server.wav(id));
    try {
      const reply = await sounds.get(id);
      if (!reply || reply.error) sounds.delete(id);
      return reply;
    } catch (error) { sounds.delete(id); throw error; }
  }
  async function detail(id) {
    if (s.details.has(id)) return s.details.get(id);
    if (!pending.has(id)) pending.set(id, server.clip(ask({ id })).finally(() => pending.delete(id)));
    const { stamp } = s.value, found = await pending.get(id);
    if (!found || found.error) throw new Error(found ? found.error : NO_ANSWER);
    return stamp === s.value.stamp ? bounded(s.details, id, found) : found;
  }
  const fetchSound = id => wav(withVocoder(id)).catch(() => {});
  const ahead = id => { detail(id).catch(() => {}); return fetchSound(id); };
  return { ask, detail, ahead, fetchSound, server: { wav }, forget: () => sounds.clear() };
}
