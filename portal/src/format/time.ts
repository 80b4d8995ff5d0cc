/** Dates and times in words, in a given zone and language. */
import type { TickUnit } from './zone';

const cache = new Map<string, Intl.DateTimeFormat>();

function format(at_ms: number, zone: string, locale: string, options: Intl.DateTimeFormatOptions): string {
  const key = `${zone}|${locale}|${JSON.stringify(options)}`;
  let formatter = cache.get(key);
  if (!formatter) {
    formatter = new Intl.DateTimeFormat(locale, { timeZone: zone, hourCycle: 'h23', ...options });
    cache.set(key, formatter);
  }
  return formatter.format(at_ms);
}

export function clock(at_ms: number, zone: string, locale: string): string {
  return format(at_ms, zone, locale, { hour: '2-digit', minute: '2-digit' });
}
export function clockSeconds(at_ms: number, zone: string, locale: string): string {
  return format(at_ms, zone, locale, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
}
export function day(at_ms: number, zone: string, locale: string): string {
  return format(at_ms, zone, locale, { weekday: 'short', day: 'numeric', month: 'short', year: 'numeric' });
}
export function date(at_ms: number, zone: string, locale: string): string {
  return format(at_ms, zone, locale, { day: 'numeric', month: 'short', year: 'numeric' });
}
export function shortDay(at_ms: number, zone: string, locale: string): string {
  return format(at_ms, zone, locale, { day: 'numeric', month: 'short' });
}
export function month(at_ms: number, zone: string, locale: string): string {
  return format(at_ms, zone, locale, { month: 'long', year: 'numeric' });
}
export function dayAndClock(at_ms: number, zone: string, locale: string): string {
  return `${shortDay(at_ms, zone, locale)} ${clock(at_ms, zone, locale)}`;
}
export function exact(at_ms: number, zone: string, locale: string): string {
  return format(at_ms, zone, locale, {
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    timeZoneName: 'short',
  });
}
export function zoneName(at_ms: number, zone: string, locale: string): string {
  const text = new Intl.DateTimeFormat(locale, { timeZone: zone, timeZoneName: 'short' });
  return text.formatToParts(at_ms).find((part) => part.type === 'timeZoneName')?.value ?? zone;
}

/** The label of a tick: midnight says its day, the first of a month its month. */
export function tick(at_ms: number, unit: TickUnit, zone: string, locale: string): string {
  if (unit === 'month') return format(at_ms, zone, locale, { month: 'short', year: '2-digit' });
  if (unit === 'day' || unit === 'week') return shortDay(at_ms, zone, locale);
  const text = clock(at_ms, zone, locale);
  return text === '00:00' ? shortDay(at_ms, zone, locale) : text;
}

export type Age = { key: 'age.now' | 'age.s' | 'age.min' | 'age.h' | 'age.d'; n: number };

/** How long ago, in the largest unit that still says something. */
export function age(at_ms: number, now_ms: number): Age {
  const seconds = Math.max(0, Math.floor((now_ms - at_ms) / 1000));
  if (seconds < 1) return { key: 'age.now', n: 0 };
  if (seconds < 90) return { key: 'age.s', n: seconds };
  if (seconds < 90 * 60) return { key: 'age.min', n: Math.round(seconds / 60) };
  if (seconds < 36 * 3600) return { key: 'age.h', n: Math.round(seconds / 3600) };
  return { key: 'age.d', n: Math.round(seconds / 86_400) };
}
