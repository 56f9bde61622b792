/* Whose browser this is: a secret that it makes once and tells the studio with all that it asks, and the run of the
   link that the page was opened with. Nobody else can act on this browser's runs. */
const KEY = "frami-visitor";

function newToken() {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
}
function ownToken() {
  const made = newToken();
  try {
    const known = localStorage.getItem(KEY);
    if (/^[\w-]{22,64}$/.test(known || "")) return known;
    localStorage.setItem(KEY, made);
  } catch { /* a browser that stores nothing forgets it with the page */ }
  return made;
}
const signs = { "x-frami-visitor": ownToken(), "x-frami-shared": new URLSearchParams(location.search).get("run") || "" };

const plainFetch = window.fetch.bind(window);
window.fetch = (input, init) => {
  const asked = input instanceof Request;
  if (new URL(asked ? input.url : input, location.href).origin !== location.origin) return plainFetch(input, init);
  const headers = new Headers(init?.headers || (asked ? input.headers : undefined));
  for (const [name, value] of Object.entries(signs)) if (/^[\x21-\x7e]+$/.test(value)) headers.set(name, value);
  return plainFetch(input, { ...init, headers });
};

/* Tells the studio, as long as the page is open, that somebody is there. */
frami.visitor = (element, props, server) => {
  const beat = () => server.beat({}).catch(() => {});
  setInterval(beat, 1000 * props.pause);
  beat();
};
