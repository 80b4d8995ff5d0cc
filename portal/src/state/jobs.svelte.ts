/** Jobs that this person started, followed to their end wherever in the portal they look. */
import { get } from '../api/client';
import { stream } from '../api/stream.svelte';
import type { Job } from '../api/types';

const KEPT_MS = 8000;
const POLL_MS = 2000;

export function ended(job: Job): boolean {
  return job.state === 'done' || job.state === 'failed' || job.state === 'cancelled';
}

/** The stream sends one job or a page of them. */
export function jobsIn(data: unknown): Job[] {
  if (data && typeof data === 'object' && 'items' in data) return (data as { items: Job[] }).items;
  return data && typeof data === 'object' && 'id' in data ? [data as Job] : [];
}

class Followed {
  jobs = $state.raw<Job[]>([]);
  #waiting = new Map<string, ((job: Job) => void)[]>();
  #unsubscribe: (() => void) | null = null;
  #poll: ReturnType<typeof setInterval> | undefined;

  /** Show the job's progress; the answer is the job as it ended. */
  follow(job: Job): Promise<Job> {
    this.#put(job);
    this.#listen();
    return new Promise((resolve) => {
      const key = String(job.id);
      if (ended(job)) resolve(job);
      else this.#waiting.set(key, [...(this.#waiting.get(key) ?? []), resolve]);
    });
  }

  dismiss(job: Job): void {
    this.jobs = this.jobs.filter((other) => other.id !== job.id);
    if (!this.jobs.length) this.#deaf();
  }

  #put(job: Job): void {
    const known = this.jobs.some((other) => other.id === job.id);
    this.jobs = known ? this.jobs.map((other) => (other.id === job.id ? job : other)) : [...this.jobs, job];
    if (!ended(job)) return;
    const key = String(job.id);
    for (const resolve of this.#waiting.get(key) ?? []) resolve(job);
    this.#waiting.delete(key);
    if (job.state === 'done') setTimeout(() => this.dismiss(job), KEPT_MS);
  }

  #update(job: Job): void {
    const known = this.jobs.find((other) => other.id === job.id);
    if (known && !ended(known)) this.#put(job);
  }

  #listen(): void {
    this.#unsubscribe ??= stream.subscribe('jobs', (data) => jobsIn(data).forEach((job) => this.#update(job)));
    this.#poll ??= setInterval(() => {
      for (const job of this.jobs)
        if (!ended(job))
          get<Job>(`/jobs/${encodeURIComponent(String(job.id))}`).then(
            (fresh) => this.#update(fresh),
            () => undefined,
          );
    }, POLL_MS);
  }

  #deaf(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = null;
    clearInterval(this.#poll);
    this.#poll = undefined;
  }
}

export const followed = new Followed();
