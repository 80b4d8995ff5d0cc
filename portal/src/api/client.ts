/** One way to ask the control centre: same origin, cookie session, problems as sentences. */
import type { Problem, Session } from './types';

const ROOT = '/api/v1';

/** What went wrong and what to try; `status` 0 means no answer at all. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly problem: Partial<Problem>,
  ) {
    super(problem.detail);
  }
}

type Query = Record<string, string | number | null | undefined>;

let csrf = '';
let onSignedOut: () => void = () => undefined;

/** Called by the session store: the token for writes, and whom to tell when the session ends. */
export function bindSession(token: string, signedOut: () => void): void {
  csrf = token;
  onSignedOut = signedOut;
}

export function address(path: string, query: Query = {}): string {
  const parts = Object.entries(query).filter(
    (pair): pair is [string, string | number] => pair[1] != null && pair[1] !== '',
  );
  const text = new URLSearchParams(parts.map(([k, v]) => [k, String(v)])).toString();
  return `${ROOT}${path}${text ? `?${text}` : ''}`;
}

async function problemOf(response: Response): Promise<ApiError> {
  const problem: unknown = await response.json().catch(() => null);
  return new ApiError(response.status, typeof problem === 'object' && problem ? problem : {});
}

async function ask<T>(method: string, url: string, body: unknown, signal?: AbortSignal): Promise<T> {
  const headers: Record<string, string> = { Accept: 'application/json' };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (method !== 'GET' && csrf) headers['X-CSRF-Token'] = csrf;
  let response: Response;
  try {
    response = await fetch(url, {
      method,
      headers,
      credentials: 'same-origin',
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal ? { signal } : {}),
    });
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause;
    throw new ApiError(0, {});
  }
  if (!response.ok) {
    const problem = await problemOf(response);
    if (response.status === 401 && !url.endsWith('/session')) onSignedOut();
    throw problem;
  }
  if (response.status === 204) return undefined as T;
  return (await response.json()) as T;
}

export function get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  return ask<T>('GET', address(path, query), undefined, signal);
}
export function post<T>(path: string, body: unknown = {}): Promise<T> {
  return ask<T>('POST', address(path), body);
}
export function put<T>(path: string, body: unknown): Promise<T> {
  return ask<T>('PUT', address(path), body);
}
export function patch<T>(path: string, body: unknown): Promise<T> {
  return ask<T>('PATCH', address(path), body);
}
export function remove<T>(path: string): Promise<T> {
  return ask<T>('DELETE', address(path), undefined);
}

export const session = {
  current: () => get<Session>('/session'),
  open: (user: string, password: string) => post<Session>('/session', { user, password }),
  close: () => remove<unknown>('/session'),
};

/** The path of a metering point, whatever characters its id has. */
export function pointPath(id: string, rest = ''): string {
  return `/points/${encodeURIComponent(id)}${rest}`;
}
