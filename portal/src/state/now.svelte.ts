/** The control centre's time on this screen, ticking once a second. */

class Now {
  ms = $state(Date.now());
  #ahead_ms = 0;

  constructor() {
    if (typeof window !== 'undefined') setInterval(() => this.#tick(), 1000);
  }

  /** Take the control centre's clock for the truth: ages are counted on it, not on this computer's. */
  set(at: string): void {
    const ahead = Date.parse(at) - Date.now();
    // A second of travel and rounding is no reason to make ages jump.
    if (Number.isFinite(ahead) && Math.abs(ahead - this.#ahead_ms) > 2000) this.#ahead_ms = ahead;
    this.#tick();
  }

  #tick(): void {
    this.ms = Date.now() + this.#ahead_ms;
  }
}

export const now = new Now();
