/** Server-sent events for whoever is on the screen: one connection carries all topics. */
import { address, get } from './client';

type Handler = (data: unknown) => void;

const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 15000;

class Stream {
  /** True while the control centre is connected and speaking. */
  connected = $state(false);
  /** True once a connection was lost and until it is back. */
  lost = $state(false);

  #handlers = new Map<string, Set<Handler>>();
  #source: EventSource | null = null;
  #opened = '';
  #retry_ms = FIRST_RETRY_MS;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Hear a topic (`overview`, `events`, `jobs`, `live:ID`) until the answer is called. */
  subscribe(topic: string, handler: Handler): () => void {
    const handlers = this.#handlers.get(topic) ?? new Set();
    handlers.add(handler);
    this.#handlers.set(topic, handlers);
    this.#schedule(20);
    return () => {
      handlers.delete(handler);
      if (!handlers.size) this.#handlers.delete(topic);
      this.#schedule(20);
    };
  }

  close(): void {
    this.#handlers.clear();
    clearTimeout(this.#timer);
    this.#shut();
    this.lost = false;
  }

  #schedule(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), ms);
  }

  #shut(): void {
    this.#source?.close();
    this.#source = null;
    this.#opened = '';
    this.connected = false;
  }

  #open(): void {
    const topics = [...this.#handlers.keys()].sort().join(',');
    if (topics === this.#opened && this.#source) return;
    this.#shut();
    if (!topics) return;
    const source = new EventSource(address('/stream', { topics }));
    this.#source = source;
    this.#opened = topics;
    source.onopen = () => {
      this.connected = true;
      this.lost = false;
      this.#retry_ms = FIRST_RETRY_MS;
    };
    source.onerror = () => {
      // A refused stream says nothing of why: any other question tells whether the session is over.
      if (!this.connected) void get('/points', { size: 1 }).catch(() => undefined);
      this.#shut();
      this.lost = true;
      this.#schedule(this.#retry_ms);
      this.#retry_ms = Math.min(this.#retry_ms * 2, LAST_RETRY_MS);
    };
    for (const word of new Set(topics.split(',').map((topic) => topic.split(':')[0] ?? topic)))
      source.addEventListener(word, (event) => this.#deliver(word, (event as MessageEvent).data));
  }

  #deliver(word: string, text: unknown): void {
    let data: unknown;
    try {
      data = JSON.parse(String(text));
    } catch {
      return;
    }
    for (const [topic, handlers] of this.#handlers)
      if (topic.split(':')[0] === word) for (const handler of handlers) handler(data);
  }
}

export const stream = new Stream();
