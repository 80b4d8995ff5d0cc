/** Something asked of the control centre: loading, there, stale or failed, never a blank page. */
import { faultOf, type Fault } from './words.svelte';

export class Resource<T> {
  data = $state.raw<T | null>(null);
  fault = $state.raw<Fault | null>(null);
  loading = $state(false);
  #turn = 0;
  #abort: AbortController | null = null;

  /** Ask again; the answer before stays on the screen until the new one is there. */
  async load(ask: (signal: AbortSignal) => Promise<T>): Promise<T | null> {
    const turn = ++this.#turn;
    this.#abort?.abort();
    this.#abort = new AbortController();
    this.loading = true;
    try {
      const data = await ask(this.#abort.signal);
      if (turn !== this.#turn) return null;
      this.data = data;
      this.fault = null;
      return data;
    } catch (cause) {
      if (turn !== this.#turn) return null;
      this.fault = faultOf(cause);
      return null;
    } finally {
      if (turn === this.#turn) this.loading = false;
    }
  }

  /** A newer answer that came by the stream. */
  put(data: T): void {
    this.data = data;
    this.fault = null;
  }

  clear(): void {
    this.#turn += 1;
    this.#abort?.abort();
    this.data = null;
    this.fault = null;
    this.loading = false;
  }
}
