/** Who is logged in, and which site this is. */
import { ApiError, bindSession, get, session as api } from '../api/client';
import { stream } from '../api/stream.svelte';
import type { Role, Session, Site } from '../api/types';
import { now } from './now.svelte';

export type Standing = 'unknown' | 'out' | 'in' | 'unreachable';

class SessionState {
  standing = $state<Standing>('unknown');
  user = $state<Session | null>(null);
  site = $state<Site | null>(null);
  /** True when a session ended while somebody worked. */
  expired = $state(false);

  get zone(): string {
    return this.site?.timezone ?? 'UTC';
  }

  may(...roles: Role[]): boolean {
    return this.user != null && roles.includes(this.user.role);
  }

  async start(): Promise<void> {
    const [site, who] = await Promise.allSettled([get<Site>('/site'), api.current()]);
    if (site.status === 'fulfilled') {
      this.site = site.value;
      now.set(site.value.now);
    }
    if (who.status === 'fulfilled' && who.value) this.#enter(who.value);
    else if (who.status === 'rejected' && !(who.reason instanceof ApiError && who.reason.status === 401))
      this.standing = 'unreachable';
    else this.standing = 'out';
  }

  async logIn(user: string, password: string): Promise<void> {
    this.#enter(await api.open(user, password));
  }

  async logOut(): Promise<void> {
    await api.close().catch(() => undefined);
    this.#leave(false);
  }

  #enter(who: Session): void {
    this.user = who;
    this.expired = false;
    bindSession(who.csrf, () => this.#leave(true));
    this.standing = 'in';
  }

  #leave(expired: boolean): void {
    stream.close();
    this.user = null;
    this.expired = expired;
    this.standing = 'out';
  }
}

export const session = new SessionState();
