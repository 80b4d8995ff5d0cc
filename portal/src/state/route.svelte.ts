/** The URL is the state: path and query are read and written here and nowhere else. */

type Change = Record<string, string | number | boolean | null | undefined>;

/** The query with some values changed; null, undefined, '' and false leave it. */
export function changed(query: URLSearchParams, change: Change): URLSearchParams {
  const next = new URLSearchParams(query);
  for (const [key, value] of Object.entries(change)) {
    if (value == null || value === '' || value === false) next.delete(key);
    else next.set(key, value === true ? '1' : String(value));
  }
  return next;
}

export function href(path: string, change: Change = {}): string {
  const text = changed(new URLSearchParams(), change).toString();
  return text ? `${path}?${text}` : path;
}

/** The id behind `/points/`, or null where the path is no point's. */
export function pointOf(path: string): string | null {
  const match = /^\/points\/([^/]+)\/?$/.exec(path);
  if (!match?.[1]) return null;
  try {
    return decodeURIComponent(match[1]);
  } catch {
    return null;
  }
}

class Route {
  path = $state('/');
  query = $state.raw(new URLSearchParams());

  constructor() {
    if (typeof window === 'undefined') return;
    this.#read();
    window.addEventListener('popstate', () => this.#read());
    document.addEventListener('click', (event) => this.#follow(event));
  }

  go(to: string, replace = false): void {
    if (replace) history.replaceState(null, '', to);
    else history.pushState(null, '', to);
    const before = this.path;
    this.#read();
    if (before !== this.path) window.scrollTo(0, 0);
  }

  /** Change values of the query. A step that a person may want to undo is pushed, a keystroke replaces. */
  set(change: Change, replace = false): void {
    const text = changed(this.query, change).toString();
    this.go(text ? `${this.path}?${text}` : this.path, replace);
  }

  get(key: string): string {
    return this.query.get(key) ?? '';
  }

  #read(): void {
    this.path = location.pathname;
    this.query = new URLSearchParams(location.search);
  }

  #follow(event: MouseEvent): void {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const anchor = (event.target as Element | null)?.closest('a');
    if (!anchor || anchor.target || anchor.hasAttribute('download')) return;
    if (anchor.origin !== location.origin || anchor.pathname.startsWith('/api/')) return;
    event.preventDefault();
    this.go(anchor.pathname + anchor.search);
  }
}

export const route = new Route();
