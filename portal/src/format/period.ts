/** Periods of the one picker that drives a page: civil days, weeks, months, years or any stretch. */
import { addDays, DAY_MS, parseDay, startOfDay, startOfMonth, startOfWeek, startOfYear } from './zone';

export const PERIODS = ['day', 'week', 'month', 'year'] as const;
export type PeriodKind = (typeof PERIODS)[number];
export interface Span {
  from: number;
  to: number;
}

export function isPeriod(text: string): text is PeriodKind {
  return (PERIODS as readonly string[]).includes(text);
}

/** The period of a kind that holds an instant. */
export function periodAt(kind: PeriodKind, at_ms: number, zone: string): Span {
  switch (kind) {
    case 'day': {
      const from = startOfDay(at_ms, zone);
      return { from, to: addDays(from, 1, zone) };
    }
    case 'week': {
      const from = startOfWeek(at_ms, zone);
      return { from, to: addDays(from, 7, zone) };
    }
    case 'month':
      return { from: startOfMonth(at_ms, zone), to: startOfMonth(at_ms, zone, 1) };
    case 'year':
      return { from: startOfYear(at_ms, zone), to: startOfYear(at_ms, zone, 1) };
  }
}

/** The neighbour period: +1 the next, −1 the one before. */
export function stepped(kind: PeriodKind, at_ms: number, steps: number, zone: string): number {
  const { from } = periodAt(kind, at_ms, zone);
  switch (kind) {
    case 'day':
      return addDays(from, steps, zone);
    case 'week':
      return addDays(from, 7 * steps, zone);
    case 'month':
      return startOfMonth(from, zone, steps);
    case 'year':
      return startOfYear(from, zone, steps);
  }
}

/** The period before, for comparing: as many civil days for days and weeks, the month before a month. */
export function before(kind: PeriodKind | null, span: Span, zone: string): Span {
  if (kind) return periodAt(kind, stepped(kind, span.from, -1, zone), zone);
  return { from: span.from - (span.to - span.from), to: span.from };
}

/** One size up and one down, for the arrow keys. */
export function wider(kind: PeriodKind): PeriodKind {
  return PERIODS[Math.min(PERIODS.indexOf(kind) + 1, PERIODS.length - 1)] ?? kind;
}
export function narrower(kind: PeriodKind): PeriodKind {
  return PERIODS[Math.max(PERIODS.indexOf(kind) - 1, 0)] ?? kind;
}

export interface View {
  kind: PeriodKind | null;
  anchor: number;
  span: Span;
}

export const SPAN_MIN_MS = 5 * 60_000;
export const SPAN_MAX_MS = 3 * 366 * DAY_MS;

/** What a URL's `period`, `day`, `from`, `to` ask for; nonsense falls back to today. */
export function viewOf(query: URLSearchParams, zone: string, now_ms: number): View {
  const named = query.get('period') ?? '';
  const kind = isPeriod(named) ? named : 'day';
  const from = Date.parse(query.get('from') ?? '');
  const to = Date.parse(query.get('to') ?? '');
  const day = parseDay(query.get('day') ?? '', zone);
  if (Number.isFinite(from) && Number.isFinite(to) && to - from >= SPAN_MIN_MS && to - from <= SPAN_MAX_MS)
    return { kind: null, anchor: from, span: { from, to } };
  const anchor = day ?? startOfDay(now_ms, zone);
  return { kind, anchor, span: periodAt(kind, anchor, zone) };
}
